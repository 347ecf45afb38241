"""What the sealing page does, without a browser: for the command `broker_seal` and the demonstration."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from broker import services
from broker.models import Config, ProxyKey
from tsp.contract import sealed
from tsp.contract import tenant as contract


def record_for(config: Config, body: contract.KmsBody | contract.SiemBody) -> sealed.Record:
    """The next version of `config`, sealed to every active proxy key. DocumentError for what the proxy would refuse."""
    tenant, following = config.tenant, services.draft(config)
    kind: Any = config.kind
    boxes = {}
    for key in ProxyKey.objects.filter(vendor=tenant.vendor_id, state="active"):
        binding = contract.Binding(
            vendor=tenant.vendor.name,
            tenant=tenant.name,
            config=config.number,
            kind=kind,
            version=following.version,
            previous=following.previous,
            created=datetime.now(UTC).isoformat(timespec="milliseconds"),
            tsp_key=key.key,
        )
        document = contract.dump(contract.Document(binding, body))
        contract.load(document)  # what we write must be what the proxy reads
        boxes[key.key] = sealed.seal(document, bytes(key.public_key))
    return sealed.Record(tenant.name, config.number, kind, following.version, boxes)
