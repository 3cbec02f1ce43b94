"""What a schema does not know of compose/compose.yaml: that keys of the configuration are
keys, that secrets are made and given, that what is mounted is there, and that every
service has its limits and a check."""

import os
import re
import subprocess
import sys
import tempfile
import tomllib

from ruamel.yaml import YAML

faults = []


def check(holds, fault):
    if not holds:
        faults.append(fault)


with open("config/default.toml", "rb") as file:
    sections = tomllib.load(file)
keys = {
    f"MIMAMORI_{section}__{key}".upper()
    for section, table in sections.items()
    if isinstance(table, dict)
    for key in table
}
compose = YAML(typ="safe").load(open("compose/compose.yaml"))
secrets = set(compose["secrets"])

for name, service in compose["services"].items():
    limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
    for needed in ("restart", "stop_grace_period", "healthcheck", "logging"):
        check(needed in service, f"{name} has no {needed}")
    check({"cpus", "memory"} <= set(limits), f"{name} has no limits")
    given = set(service.get("secrets", []))
    check(given <= secrets, f"{name} is given secrets that are none: {given - secrets}")
    for variable, value in service.get("environment", {}).items():
        if variable.startswith("MIMAMORI_"):
            key = variable.removesuffix("_FILE")
            check(key in keys, f"{name}: {variable} is no key of the configuration")
        for secret in re.findall(r"/run/secrets/(\w+)", str(value)):
            check(secret in given, f"{name} reads the secret {secret} and is not given it")
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("."):
            check(os.path.exists(os.path.join("compose", source)), f"{name}: {source} is not there")
        else:
            check(source in compose["volumes"], f"{name}: {source} is no volume")

with tempfile.TemporaryDirectory() as made:
    subprocess.run(["compose/secrets.sh", made], check=True)
    check(set(os.listdir(made)) == secrets, "secrets.sh makes others than compose.yaml names")

for fault in faults:
    print(f"compose/compose.yaml: {fault}", file=sys.stderr)
sys.exit(bool(faults))
