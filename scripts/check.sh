#!/usr/bin/env bash
# Formatting, lints, docs, dependency rules; starts no server.
. "$(dirname "$0")/lib.sh"

need_rust
say "formatting"
cargo fmt --all --check
say "size of files"
scripts/check-size.sh
say "dependency rules"
scripts/check-dependencies.sh
say "containers"
scripts/check-containers.sh
say "lints"
cargo clippy --locked --workspace --all-targets "${with_faults[@]}" -- -D warnings
say "docs"
# the docs are read by those who work on it: private rooms are shown, and may be linked to
RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --document-private-items --locked --no-deps --workspace
if [ -f console/package.json ]; then
    say "console"
    STRICT=1 scripts/build-console.sh
    (cd console && npm run --silent check)
fi
say "all checks passed"
