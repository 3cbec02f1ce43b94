#!/usr/bin/env bash
# Dockerfile and compose files, without an engine: the first by hadolint, the others by
# the schema of the compose specification, and by what the program and its files say.
. "$(dirname "$0")/lib.sh"

need python3 python3
# fetched once, kept under .venv
if ! cmp -s scripts/check-containers.txt .venv/containers.txt; then
    say "installing what the containers are checked with"
    python3 -m venv .venv 2>/dev/null || {
        try_install python3-venv || die "python3-venv is missing: install it (on Debian: apt-get install python3-venv)"
        python3 -m venv .venv
    }
    .venv/bin/pip install --quiet --disable-pip-version-check -r scripts/check-containers.txt >&2
    cp scripts/check-containers.txt .venv/containers.txt
fi

.venv/bin/hadolint Dockerfile
.venv/bin/check-jsonschema --quiet --builtin-schema vendor.compose-spec compose/compose.yaml
.venv/bin/python scripts/check-compose.py
for script in compose/*.sh; do
    sh=$(sed -n '1s/^#!.*[/ ]//p' "$script")
    "$sh" -n "$script"
done
