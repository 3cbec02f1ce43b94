#!/usr/bin/env bash
# Faults, long and timed: a table of what was injected, expected and counted; non-zero when one is
# outside. Names run only those: scripts/drill.sh kill power. MIMAMORI_DRILL_SECONDS shortens the timed ones.
. "$(dirname "$0")/lib.sh"

need_rust
need strace strace
need perl perl
need faketime faketime
say "building the drills"
cargo bench --locked --bench drill --no-run
# gigabytes of data belong on a disk, and /tmp may be none
mkdir -p "${CARGO_TARGET_DIR:=$PWD/target}"
TMPDIR=$(mktemp -d "$CARGO_TARGET_DIR/drill.XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
if [ $# -eq 0 ]; then
    say "the journal against its model: 10,000 stories"
    MIMAMORI_DRILL_ROUNDS=10 cargo test --locked --lib -- journal::tests::model
fi
cargo bench --locked --bench drill -- "$@"
