#!/usr/bin/env bash
# Faults, long and timed: a table of what was injected, expected and counted; non-zero when one is
# outside. Names run only those: scripts/drill.sh kill power. MIMAMORI_DRILL_SECONDS shortens
# away, blocked, those of stores (pg-…, influx-…, redis-killed, all-hung), overload and memory.
. "$(dirname "$0")/lib.sh"

need_rust
need_faults
need_postgres
need_redis
need_influxdb
export POSTGRES_BUFFERS=512MB # as in compose/compose.yaml
say "building the drills"
cargo bench --locked "${with_faults[@]}" --bench drill --no-run
# gigabytes of data belong on a disk, and /tmp may be none
mkdir -p "${CARGO_TARGET_DIR:=target}"
TMPDIR=$(mktemp -d "$(cd "$CARGO_TARGET_DIR" && pwd)/drill.XXXXXX")
export TMPDIR

# A drill that was killed may have left a file system mounted there.
clean_up() {
    local mounted
    awk -v dir="$TMPDIR/" 'index($2, dir) == 1 { print $2 }' /proc/mounts | while read -r mounted; do
        umount --lazy "$mounted" || true
    done
    rm -rf --one-file-system "$TMPDIR"
}
trap clean_up EXIT
# the shell ends by these too, and then cleans up
trap 'exit 130' INT
trap 'exit 143' TERM
if [ $# -eq 0 ]; then
    say "the journal against its model: 10,000 stories"
    MIMAMORI_DRILL_ROUNDS=10 cargo test --locked --lib -- journal::tests::model
fi
status=0
wanted=()
for name in "$@"; do [ "$name" = year ] || wanted+=("$name"); done
if [ $# -eq 0 ] || [ ${#wanted[@]} -lt $# ]; then
    say "year: the reading calls over 7.3 million executions, in a file and on a server (20 GB on the disk)"
    MIMAMORI_BENCH_DAYS=365 cargo bench --locked --bench spine -- reading || status=1
fi
if [ $# -eq 0 ] || [ ${#wanted[@]} -gt 0 ]; then
    cargo bench --locked "${with_faults[@]}" --bench drill -- "${wanted[@]}" || status=1
fi
exit $status
