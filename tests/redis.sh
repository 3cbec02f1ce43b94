#!/usr/bin/env bash
# A real Redis server for tests: tests/redis.sh PORT [CERTIFICATES]
#
# Made in a temporary directory, on this port of the loopback, with the password
# `not-for-logs`; with a directory of certificates (server.crt, server.key, ours.crt) it
# speaks TLS alone. It says `ready` on standard output and obeys, on standard
# input, one a line, each answered by itself: `stop` (as it would be told to, it
# keeps what it has), `kill` (-9), `start`, `empty` (takes away what it kept; while it is not running),
# `freeze` and `thaw`. When standard input ends, however that comes about, the
# server is ended and its directory removed.
set -euo pipefail

port=$1
command -v redis-server >/dev/null && command -v redis-cli >/dev/null || {
    echo "Redis is missing: install it (on Debian: apt-get install redis-server)"
    exit 1
}
dir=$(mktemp -d /tmp/mimamori-redis-XXXXXX)
pid=
running() { [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null; }
gone() {
    wait "$pid" 2>/dev/null || true
    pid=
}
end() {
    if running; then
        kill -9 "$pid" 2>/dev/null || true
        gone
    fi
    rm -rf "$dir"
}
trap end EXIT

cat >"$dir/redis.conf" <<CONF
bind 127.0.0.1
port $port
dir $dir
requirepass not-for-logs
databases 1000
save ""
appendonly yes
appendfsync everysec
logfile $dir/log
CONF
tls=()
if [ -n "${2:-}" ]; then
    tls=(--tls --cacert "$2/ours.crt")
    # 127.0.0.2 is this machine too, and in no certificate
    cat >>"$dir/redis.conf" <<CONF
bind 127.0.0.1 127.0.0.2
port 0
tls-port $port
tls-cert-file $2/server.crt
tls-key-file $2/server.key
tls-ca-cert-file $2/ours.crt
tls-auth-clients no
CONF
fi
start() {
    redis-server "$dir/redis.conf" </dev/null >/dev/null 2>&1 &
    pid=$!
    local tries
    for tries in $(seq 200); do
        [ "$(REDISCLI_AUTH=not-for-logs redis-cli -h 127.0.0.1 -p "$port" "${tls[@]}" ping 2>/dev/null)" = PONG ] && return
        running || break
        sleep 0.05
    done
    cat "$dir/log"
    exit 1
}
start
echo ready
while read -r word; do
    case $word in
    stop)
        kill -TERM "$pid"
        gone
        ;;
    kill)
        kill -9 "$pid"
        gone
        ;;
    start) start ;;
    empty) rm -rf "$dir/appendonlydir" "$dir/dump.rdb" ;;
    freeze) kill -STOP "$pid" ;;
    thaw) kill -CONT "$pid" ;;
    esac
    echo "$word"
done
