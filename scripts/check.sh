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
say "lints"
cargo clippy --locked --workspace --all-targets -- -D warnings
say "docs"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --workspace
if [ -f console/package.json ]; then
    say "console"
    STRICT=1 scripts/build-console.sh
    (cd console && npm run --silent check)
fi
say "all checks passed"
