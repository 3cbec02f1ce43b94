#!/usr/bin/env bash
# Builds console and server; PROFILE is release or quick.
. "$(dirname "$0")/lib.sh"

need_rust
scripts/build-console.sh
build_server "${1:-release}"
say "built $mimamori"
