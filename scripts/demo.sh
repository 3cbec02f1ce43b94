#!/usr/bin/env bash
# Serves, and sends it a simulated class; Ctrl-C stops both.
. "$(dirname "$0")/lib.sh"

need_rust
scripts/build-console.sh
build_server quick
listen_as_asked

# Both in process groups of their own: Ctrl-C reaches this script alone, which
# stops one after the other. A second signal would stop the server at once.
set -m
ready=$(mktemp)
server=
class=
finish() {
    trap - EXIT INT TERM
    # the class first, so that what it has sent is answered
    [ -z "$class" ] || { kill "$class" 2>/dev/null && wait "$class"; } || true
    [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server"; } || true
    rm -f "$ready"
}
trap finish EXIT
trap 'exit 0' INT
trap 'exit 143' TERM

"$mimamori" serve --print-links >"$ready" &
server=$!
until [ -s "$ready" ]; do
    kill -0 "$server" 2>/dev/null || { wait "$server"; exit; }
    sleep 0.1
done
listening=$(sed -n 's/.*"listening":"\([^"]*\)".*/\1/p' "$ready")
cat "$ready"

# the key from the ingest address, the server where it listens: a public_url may not be reached from here
ingest=$("$mimamori" link --ingest)
say "a class of ${STUDENTS:-30} begins; Ctrl-C stops it"
"$mimamori" simulate --students "${STUDENTS:-30}" --speed "${SPEED:-1}" --print-every 10 --url "$listening/k/${ingest#*/k/}" &
class=$!
wait "$class"
