#!/usr/bin/env bash
# The benchmarks: each prints what it compares with, and the ratio. One name runs one:
# throughput, lag, latency, records, reading, fan-out, stalled, consoles, reconnect, many-consoles,
# sessions. MIMAMORI_BENCH_STORE=sqlite, influxdb or postgres narrows reading, MIMAMORI_BENCH_CALLS too.
. "$(dirname "$0")/lib.sh"

need_rust
need_postgres
need_influxdb
export POSTGRES_BUFFERS=512MB # as in compose/compose.yaml
say "building the benchmarks"
cargo bench --locked --bench spine --no-run
cargo bench --locked --bench spine -- "$@"
