#!/bin/sh
# config/nginx.conf with the nodes of compose.yaml in place of its addresses; then nginx.
set -eu

sed -e 's/127\.0\.0\.1:8000/server:8000/' \
    -e 's/127\.0\.0\.1:8001/consoles:8000/' \
    -e '/127\.0\.0\.1:8002/d' \
    /etc/mimamori/nginx.conf >/etc/nginx/conf.d/default.conf
exec nginx -g 'daemon off;'
