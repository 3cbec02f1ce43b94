#!/bin/sh
# Redis for bus and cache; `ping` asks whether it answers.
set -eu

secret=${REDIS_PASSWORD_FILE:-/run/secrets/redis_password}
if [ "${1:-}" = ping ]; then
    [ "$(REDISCLI_AUTH=$(cat "$secret") redis-cli -p "${REDIS_PORT:-6379}" ping)" = PONG ]
    exit
fi

# What the bus keeps has no term: only answers of the cache, which all have one, are
# taken away when there is no room.
{
    printf 'requirepass %s\n' "$(cat "$secret")"
    cat <<CONF
port ${REDIS_PORT:-6379}
dir ${REDIS_DIR:-/data}
save ""
appendonly yes
appendfsync everysec
maxmemory 512mb
maxmemory-policy volatile-lru
CONF
} >/tmp/redis.conf.$$
chmod 600 /tmp/redis.conf.$$
# read before it is gone
exec 3</tmp/redis.conf.$$
rm /tmp/redis.conf.$$
exec redis-server - <&3
