"""`python -m examples.demo.tenant_key south off`: what the tenant does at its own key service."""

from __future__ import annotations

import argparse
from pathlib import Path

from tsp.kms.local import set_enabled


def main() -> None:
    parser = argparse.ArgumentParser(prog="tenant_key", description="Switches a tenant's key of the demonstration.")
    parser.add_argument("tenant", choices=("north", "south"))
    parser.add_argument("switch", choices=("on", "off"))
    parser.add_argument("--state", type=Path, default=Path("var/demo"))
    arguments = parser.parse_args()
    set_enabled(arguments.state / "tenants" / f"{arguments.tenant}.key", arguments.switch == "on")


if __name__ == "__main__":
    main()
