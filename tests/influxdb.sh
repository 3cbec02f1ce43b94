#!/usr/bin/env bash
# A real InfluxDB server for tests: tests/influxdb.sh PORT [USERS]
#
# Made in a temporary directory, on this port of the loopback; it asks for users if
# USERS is `true`. It says `ready` on standard output and obeys the words `stop` (kill -9), `start`,
# `freeze`, `thaw` and `forget` (started anew with nothing in it) on standard input,
# one a line, each answered by itself. When standard input ends, however that
# comes about, the server is ended and its directory removed.
set -euo pipefail

port=$1
users=${2:-false}
command -v influxd >/dev/null || {
    echo "InfluxDB is missing: install it (on Debian: apt-get install influxdb influxdb-client)"
    exit 1
}
dir=$(mktemp -d /tmp/mimamori-influxdb-XXXXXX)
pid=
stop() {
    [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true
    [ -z "$pid" ] || wait "$pid" 2>/dev/null || true
    pid=
}
end() {
    stop
    rm -rf "$dir"
}
trap end EXIT

cat >"$dir/influxdb.conf" <<CONF
reporting-enabled = false
bind-address = "127.0.0.1:0"
[meta]
dir = "$dir/meta"
[data]
dir = "$dir/data"
wal-dir = "$dir/wal"
query-log-enabled = false
[monitor]
store-enabled = false
[http]
bind-address = "127.0.0.1:$port"
log-enabled = false
auth-enabled = $users
[continuous_queries]
enabled = false
[logging]
level = "warn"
CONF

answers() {
    local line
    { exec 3<>"/dev/tcp/127.0.0.1/$port"; } 2>/dev/null || return 1
    printf 'GET /ping HTTP/1.0\r\n\r\n' >&3
    IFS= read -r line <&3 || true
    exec 3>&-
    [[ $line == *204* ]]
}
start() {
    # what it starts must not hold our standard input and output open
    env -i PATH="$PATH" influxd run -config "$dir/influxdb.conf" </dev/null >>"$dir/log" 2>&1 &
    pid=$!
    for _ in $(seq 400); do
        answers && return
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
    done
    cat "$dir/log"
    exit 1
}

start
echo ready
while read -r word; do
    case $word in
    stop) stop ;;
    start) start ;;
    freeze) kill -STOP "$pid" ;;
    thaw) kill -CONT "$pid" ;;
    forget)
        stop
        rm -rf "$dir/meta" "$dir/data" "$dir/wal"
        start
        ;;
    esac
    echo "$word"
done
