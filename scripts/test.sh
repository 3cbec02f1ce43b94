#!/usr/bin/env bash
# Every test, on a fresh machine too: what they need is installed first.
. "$(dirname "$0")/lib.sh"

need_rust
need_faults
need_postgres
need openssl openssl
need_redis
need_nginx
need_influxdb
need node nodejs
need npm npm
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || need chromium chromium

say "console"
STRICT=1 scripts/build-console.sh
if [ -f console/package.json ] && grep -q '"test":' console/package.json; then
    (cd console && npm test)
fi

say "server"
# no tests are skipped because others failed: all of what is wrong is told
cargo test --locked --workspace "${with_faults[@]}" --no-fail-fast

if [ -f tests/browser/package.json ]; then
    say "browser"
    # the one that the tests had: built by itself its dependencies would have other features,
    # and all of them would be compiled again
    MIMAMORI_BIN=$(cargo test --locked --workspace "${with_faults[@]}" --no-run --message-format json-render-diagnostics |
        sed -n 's#.*"executable":"\([^"]*/mimamori\)".*#\1#p' | tail -n 1)
    [ -x "$MIMAMORI_BIN" ] || die "cargo did not say where the program is"
    export MIMAMORI_BIN
    CHROMIUM=$(command -v chromium || command -v chromium-browser)
    export CHROMIUM
    cd tests/browser
    npm ci --no-audit --no-fund >&2
    npm test
fi
say "all tests passed"
