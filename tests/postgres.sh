#!/usr/bin/env bash
# A real PostgreSQL server for tests: tests/postgres.sh PORT
#
# Made in a temporary directory, on this port of the loopback, with the superuser
# `postgres` whose password is `not-for-logs`. It says `ready` on standard output
# and obeys the words `stop` (as a crash), `kill` (all of its processes, with -9), `start`,
# `freeze` and `thaw` on standard input, one a line, each answered by itself. What runs
# already is not started. When standard input ends, however that comes
# about, the server is ended and its directory removed.
#
# POSTGRES_TLS: a directory with server.crt and server.key: it speaks TLS too.
# POSTGRES_DIR: where it is made (a small disk, say) instead of under /tmp.
# POSTGRES_BUFFERS: its shared_buffers, instead of little.
# POSTGRES_REPLICA_OF: the port of another such server, of which it is made as a replica (hot
# standby by streaming replication); what its log must take away it takes away after 300 ms.
set -euo pipefail

if [ "$(id -u)" = 0 ]; then
    # the server refuses root; whoever it runs as may not be allowed to read this file
    user=postgres
    id -u "$user" >/dev/null 2>&1 || user=nobody
    text=$(cat "$0")
    cd /
    [ -z "${POSTGRES_DIR:-}" ] || chown "$user" "$POSTGRES_DIR"
    exec setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups env HOME=/nonexistent bash -c "$text" "$0" "$@"
fi

port=$1
bin=$(find /usr/lib/postgresql/*/bin -maxdepth 0 2>/dev/null | sort -V | tail -n 1)
[ -n "$bin" ] || bin=$(dirname "$(command -v initdb)") || {
    echo "PostgreSQL is missing: install it (on Debian: apt-get install postgresql)"
    exit 1
}
dir=$(mktemp -d "${POSTGRES_DIR:-/tmp}/mimamori-postgres-XXXXXX")
control() {
    # what it starts must not hold our standard input and output open
    "$bin/pg_ctl" -D "$dir/data" -s -w "$@" </dev/null >>"$dir/control.log" 2>&1
}
each_process() {
    local main
    main=$(head -n 1 "$dir/data/postmaster.pid")
    # shellcheck disable=SC2046 # one word a process
    kill "-$1" "$main" $(cat "/proc/$main/task/$main/children")
}
# As long as nobody has taken notice of its end, pg_ctl takes it for a server that runs.
ended() {
    local main
    main=$(head -n 1 "$dir/data/postmaster.pid")
    for _ in {1..500}; do
        [ -e "/proc/$main" ] || return 0
        sleep 0.02
    done
    echo "killed and still there"
    exit 1
}
end() {
    each_process CONT 2>/dev/null || true
    control -m immediate stop || true
    rm -rf "$dir"
}
trap end EXIT

make() {
    echo not-for-logs >"$dir/password"
    if [ -n "${POSTGRES_REPLICA_OF:-}" ]; then
        PGPASSWORD=not-for-logs "$bin/pg_basebackup" -D "$dir/data" -R -X stream -c fast --no-sync \
            -d "host=127.0.0.1 port=$POSTGRES_REPLICA_OF user=postgres"
        return
    fi
    "$bin/initdb" -D "$dir/data" -U postgres --pwfile "$dir/password" -A scram-sha-256 \
        -E UTF8 --locale C.UTF-8 --no-sync
}
make >"$dir/initdb.log" 2>&1 </dev/null || {
    cat "$dir/initdb.log"
    exit 1
}
cat >>"$dir/data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1, 127.0.0.2'
port = $port
unix_socket_directories = '$dir'
max_connections = 200
shared_buffers = '${POSTGRES_BUFFERS:-32MB}'
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.max = 20000
CONF
if [ -n "${POSTGRES_REPLICA_OF:-}" ]; then
    cat >>"$dir/data/postgresql.conf" <<CONF
fsync = off
max_standby_streaming_delay = '300ms'
wal_retrieve_retry_interval = '200ms'
CONF
fi
if [ -n "${POSTGRES_TLS:-}" ]; then
    install -m 600 "$POSTGRES_TLS/server.crt" "$POSTGRES_TLS/server.key" "$dir/data"
    echo "ssl = on" >>"$dir/data/postgresql.conf"
fi
control -l "$dir/log" start || {
    cat "$dir/control.log" "$dir/log"
    exit 1
}
echo ready
while read -r word; do
    case $word in
    stop) control -m immediate stop ;;
    kill)
        each_process KILL
        ended
        ;;
    start) control status || control -l "$dir/log" start ;;
    freeze) each_process STOP ;;
    thaw) each_process CONT ;;
    esac
    echo "$word"
done
