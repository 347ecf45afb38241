"""What people do at the portal, done in its process: vendor, tenants, members, keys, and what a browser seals.

Started with the portal's settings as `python -m examples.demo.portal seed` or `… state`; JSON in, JSON out.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

import django

from tsp.contract import tenant as contract


def main(verb: str) -> None:
    django.setup()
    json.dump(seed(json.load(sys.stdin)) if verb == "seed" else state(), sys.stdout)


def seed(wanted: dict[str, Any]) -> dict[str, Any]:
    """Makes all that `wanted` lists; the service token and {tenant: {kind: config number}}."""
    from broker import services
    from broker.services import Actor

    by = Actor("make run")
    vendor = services.create_vendor(name=wanted["vendor"], title=wanted["title"], by=by)
    services.add_operator(vendor=vendor, email=wanted["operator"], password=wanted["password"], by=by)
    public = base64.b64decode(wanted["public_key"])
    services.register_proxy_key(vendor=vendor, public_key=public, label="make run", by=by)
    token = services.issue_service_token(vendor=vendor, label="make run", by=by)
    numbers: dict[str, dict[str, int]] = {}
    for one in wanted["tenants"]:
        tenant = services.create_tenant(vendor=vendor, name=one["name"], title=one["title"], by=by)
        services.add_member(tenant=tenant, email=one["admin"], password=wanted["password"], by=by)
        kms = contract.KmsBody("local", {"key_file": one["key_file"]}, True, contract.Leasing(**one["leasing"]))
        siem = contract.SiemBody(one["siem"]["provider"], one["siem"]["options"])
        numbers[one["name"]] = {
            "kms": _publish(tenant, "kms", kms, by),
            "siem": _publish(tenant, "siem", siem, by),
        }
    return {"token": token, "configs": numbers}


def state() -> dict[str, list[str]]:
    """What the proxies said: {"<config number>": [state, reason]}."""
    from broker.models import ConfigStatus

    return {str(one.config_id): [one.state, one.reason] for one in ConfigStatus.objects.all()}


def _publish(tenant: Any, kind: contract.Kind, body: contract.KmsBody | contract.SiemBody, by: Any) -> int:
    """The steps of the sealing page: draft, document, box, post."""
    from broker import services
    from broker.offline import record_for

    config = services.allocate_config(tenant=tenant, kind=kind, by=by)
    services.publish_record(tenant=tenant, record=record_for(config, body), by=by)
    return config.number


if __name__ == "__main__":
    main(sys.argv[1])
