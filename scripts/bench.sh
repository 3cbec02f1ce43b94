#!/usr/bin/env bash
# The benchmarks: each prints what it compares with, and the ratio. One name runs one:
# throughput, lag, latency, records, fan-out, stalled, consoles, reconnect, many-consoles, sessions.
. "$(dirname "$0")/lib.sh"

need_rust
need_postgres
say "building the benchmarks"
cargo bench --locked --bench spine --no-run
cargo bench --locked --bench spine -- "$@"
