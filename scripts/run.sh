#!/usr/bin/env bash
# Builds what is needed and serves, on the embedded default.
. "$(dirname "$0")/lib.sh"

need_rust
scripts/build-console.sh
build_server quick
listen_as_asked
exec "$mimamori" serve --print-links
