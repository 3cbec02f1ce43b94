#!/usr/bin/env bash
# Builds the console into console/dist, if its sources have changed since the last time.
# Without node, and without the right to install it, the server is built without
# console: its page then says how to build it. STRICT=1 makes that an error.
. "$(dirname "$0")/lib.sh"

[ -f console/package.json ] || exit 0

if [ "${STRICT:-}" = 1 ]; then
    need node nodejs
    need npm npm
elif ! command -v npm >/dev/null && ! try_install nodejs npm; then
    say "npm is missing: going on without the console (on Debian: apt-get install nodejs npm)"
    exit 0
fi

cd console
digest() { find "$@" -type f -print0 2>/dev/null | sort -z | xargs -0 sha256sum | sha256sum; }
# kept in node_modules: what lies in dist goes into the program
stamp=node_modules/.mimamori

lock=$(digest package.json package-lock.json)
if [ "$(cat "$stamp-lock" 2>/dev/null)" != "$lock" ]; then
    say "installing what the console is built with"
    npm ci --no-audit --no-fund >&2
    printf '%s' "$lock" >"$stamp-lock"
fi

sources=$(find . -path ./node_modules -prune -o -path ./dist -prune -o -type f -print0 |
    sort -z | xargs -0 sha256sum | sha256sum)
if [ "$(cat "$stamp-sources" 2>/dev/null)" != "$sources" ] || [ ! -f dist/index.html ]; then
    say "building the console"
    npm run --silent build >&2
    printf '%s' "$sources" >"$stamp-sources"
fi
