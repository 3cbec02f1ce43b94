#!/bin/sh
# Redis for bus and cache; `ping` asks whether it answers.
set -eu

secret=${REDIS_PASSWORD_FILE:-/run/secrets/redis_password}
if [ "${1:-}" = ping ]; then
    [ "$(REDISCLI_AUTH=$(cat "$secret") redis-cli -p "${REDIS_PORT:-6379}" ping)" = PONG ]
    exit
fi

# When there is no room, what ends first is taken away: answers of the cache have an hour
# at most, what the bus keeps has a day.
{
    printf 'requirepass %s\n' "$(cat "$secret")"
    cat <<CONF
port ${REDIS_PORT:-6379}
dir ${REDIS_DIR:-/data}
save ""
appendonly yes
appendfsync everysec
maxmemory 512mb
maxmemory-policy volatile-ttl
CONF
} >/tmp/redis.conf.$$
chmod 600 /tmp/redis.conf.$$
# read before it is gone
exec 3</tmp/redis.conf.$$
rm /tmp/redis.conf.$$
exec redis-server - <&3
