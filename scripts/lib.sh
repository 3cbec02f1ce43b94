# What the scripts share; sourced, not run.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# mkfs and its like stand where only root looks
PATH=$PATH:/usr/sbin:/sbin

# On standard error: standard output belongs to what is run.
say() { printf '== %s\n' "$*" >&2; }

die() {
    printf '%s\n' "$*" >&2
    exit 1
}

apt_is_fresh=

# need COMMAND PACKAGE… — installs the packages if the command is missing and we
# may; else names them in one line and stops.
need() {
    local command=$1
    shift
    command -v "$command" >/dev/null && return
    try_install "$@" || true
    command -v "$command" >/dev/null || die "$command is missing: install it (on Debian: apt-get install $*)"
}

# Whether the packages could be installed.
try_install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    say "installing $*"
    if [ -z "$apt_is_fresh" ]; then
        apt-get update -q >&2 || return 1
        apt_is_fresh=yes
    fi
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" >&2
}

# A real server for the tests: its programs are not on Debian's path, psql comes with it.
need_postgres() {
    ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && command -v psql >/dev/null && return
    command -v initdb >/dev/null && command -v psql >/dev/null && return
    try_install postgresql || true
    command -v psql >/dev/null || die "PostgreSQL is missing: install it (on Debian: apt-get install postgresql)"
}

# A real server for the tests, and its client.
need_redis() {
    need redis-server redis-server
    need redis-cli redis-tools
}

# A real proxy for the tests.
need_nginx() {
    need nginx nginx-light
}

# Its server and its own client.
need_influxdb() {
    need influxd influxdb
    need influx influxdb-client
}

# What every build needs. SQLite and ring are compiled from C.
need_rust() {
    command -v cargo >/dev/null || die "cargo is missing: install Rust 1.95 or newer from https://rustup.rs"
    need cc gcc libc6-dev
}

# build_server PROFILE [WORD…] — builds with visible progress and sets $mimamori to
# the program's path, wherever cargo puts it. The words go to cargo.
build_server() {
    local profile=$1
    shift
    say "building the server (profile $profile)"
    mimamori=$(cargo build --locked --bin mimamori --profile "$profile" "$@" --message-format json-render-diagnostics |
        sed -n 's#.*"executable":"\([^"]*/mimamori\)".*#\1#p' | tail -n 1)
    [ -x "$mimamori" ] || die "cargo did not say where the program is"
}

# What is tested and drilled: the server, and beside it the one whose actors fail on demand.
with_faults=(--features faulty)

# What their tests and drills need besides.
need_faults() {
    need strace strace
    need perl perl
    need faketime faketime
    need mkfs.ext4 e2fsprogs
    need mount mount
}

# LAN=1 and PORT of the Makefile, as configuration.
listen_as_asked() {
    if [ "${LAN:-}" = 1 ]; then
        export MIMAMORI_HTTP__LISTEN="0.0.0.0:${PORT:-8000}"
    elif [ -n "${PORT:-}" ]; then
        export MIMAMORI_HTTP__LISTEN="127.0.0.1:$PORT"
    fi
}
