#!/usr/bin/env bash
# The long and timed tests: a figure beside each target; non-zero when one is missed.
. "$(dirname "$0")/lib.sh"

need_rust
need strace strace
say "kill -9 at a random moment under load, 20 times"
MIMAMORI_DRILL_ROUNDS=20 cargo test --locked --release --test it -- crash --nocapture
say "all drills passed"
