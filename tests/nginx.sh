#!/usr/bin/env bash
# A real nginx for tests: tests/nginx.sh PORT FIRST SECOND THIRD LOGS
#
# With the configuration that is shipped, config/nginx.conf, on this port of the
# loopback instead of 80, and the addresses of these nodes in the place of those
# that stand there, its logs in the directory LOGS. It says `ready` on standard output. When standard input ends,
# however that comes about, the server is ended and its directory removed.
set -euo pipefail
PATH=$PATH:/usr/sbin

port=$1
command -v nginx >/dev/null || {
    echo "nginx is missing: install it (on Debian: apt-get install nginx-light)"
    exit 1
}
dir=$(mktemp -d /tmp/mimamori-nginx-XXXXXX)
pid=
end() {
    [ -z "$pid" ] || {
        kill -TERM "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    }
    rm -rf "$dir"
}
trap end EXIT

sed -e "s/listen 80;/listen 127.0.0.1:$port;/" -e "s#/var/log/nginx#$5#" \
    -e "s/127\.0\.0\.1:8000/$2/" -e "s/127\.0\.0\.1:8001/$3/" -e "s/127\.0\.0\.1:8002/$4/" \
    "$(dirname "$0")/../config/nginx.conf" >"$dir/mimamori.conf"
cat >"$dir/nginx.conf" <<CONF
$([ "$(id -u)" = 0 ] && echo "user root;")
daemon off;
worker_processes 2;
pid $dir/pid;
error_log $5/error.log warn;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path $dir/body;
    proxy_temp_path $dir/proxy;
    fastcgi_temp_path $dir/fastcgi;
    uwsgi_temp_path $dir/uwsgi;
    scgi_temp_path $dir/scgi;
    include $dir/mimamori.conf;
}
CONF
nginx -p "$dir" -e "$5/error.log" -c "$dir/nginx.conf" </dev/null >"$dir/out" 2>&1 &
pid=$!
for _ in $(seq 200); do
    (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null && break
    kill -0 "$pid" 2>/dev/null || {
        cat "$dir/out" "$5/error.log" || true
        exit 1
    }
    sleep 0.05
done
echo ready
cat >/dev/null
