#!/usr/bin/env bash
# Dependencies point one way: mimamori -> mimamori-actors, mimamori -> mimamori-migrations.
# The domain opens no socket, no file and no database.
. "$(dirname "$0")/lib.sh"

# names CRATE — what it depends on, however far, in what is shipped
names() { cargo tree --locked -p "$1" -e normal --prefix none --no-dedupe | awk 'NR > 1 { print $1 }' | sort -u; }

# forbid CRATE NAME… — the crate must depend on none of them, nor on what begins with one of them and a dash
forbid() {
    local crate=$1 all found
    shift
    all=$(names "$crate")
    found=$(grep -E "^($(IFS='|' && printf '%s' "$*"))(-|$)" <<<"$all" || true)
    [ -z "$found" ] || die "$crate must not depend on" $found
}

# forbid_ours CRATE NAME… — the same for exactly these names
forbid_ours() {
    local crate=$1 all name
    shift
    all=$(names "$crate")
    for name in "$@"; do
        ! grep -qx "$name" <<<"$all" || die "$crate must not depend on $name"
    done
}

forbid mimamori-actors \
    warp hyper reqwest tungstenite tokio-tungstenite rustls \
    sea-orm sqlx rusqlite libsqlite3-sys redis influxdb fjall
forbid_ours mimamori-actors mimamori mimamori-migrations
forbid_ours mimamori-migrations mimamori mimamori-actors

# tokio's sockets, files and processes are features
found=$(cargo tree --locked -p mimamori-actors -e normal,features --prefix none |
    grep -oE '^tokio feature "(net|fs|process|full)"' | sort -u | tr '\n' ' ' || true)
[ -z "$found" ] || die "mimamori-actors must not use $found"
