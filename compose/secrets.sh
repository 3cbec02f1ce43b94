#!/usr/bin/env bash
# Makes what is secret, once: compose/secrets.sh [DIR]. What is there stays as it is.
set -euo pipefail

dir=${1:-$(dirname "$0")/secrets}
# nobody else on this machine gets into the directory; within the containers, where
# the files alone are seen, each runs as somebody else
mkdir -p "$dir"
chmod 700 "$dir"

# make NAME TEXT — without an end of line: some images take the file as it is
make() {
    [ -s "$dir/$1" ] || printf '%s' "$2" >"$dir/$1"
    chmod 444 "$dir/$1"
}
random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

make admin_token "adm_$(random)"
make ingest_key "ing_$(random)"
make signing_secret "$(random)"
for password in postgres_password redis_password influxdb_password influxdb_token; do
    make "$password" "$(random)"
done
# the network between them is their own: no TLS in it
make records_url "postgres://mimamori:$(cat "$dir/postgres_password")@postgres:5432/mimamori?sslmode=disable"
make bus_url "redis://default:$(cat "$dir/redis_password")@redis:6379/0"
make cache_url "redis://default:$(cat "$dir/redis_password")@redis:6379/1"
