#!/usr/bin/env bash
# No source file has more than 500 lines, tests included.
. "$(dirname "$0")/lib.sh"

too_long=$(git ls-files -z -- '*.rs' '*.ts' '*.tsx' '*.svelte' '*.mjs' |
    xargs -0 -r wc -l | awk '$2 != "total" && $1 > 500 { print "  " $2 ": " $1 " lines" }')
[ -z "$too_long" ] || die "files of more than 500 lines:
$too_long"
