"""The keys that a finished main job used, got as only a test can: to look for them where they must not be."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from encrypted_fields.core.context import KeyContext
from encrypted_fields.core.envelope import parse
from examples.demo.cast import TENANTS
from examples.demo.roles import VENDOR
from examples.demo.story import Story
from tsp import edek
from tsp.egress import Egress
from tsp.kms.local import LocalKms


def edeks(story: Story) -> list[tuple[str, bytes]]:
    """(tenant, EDEK) of each patient's name as it lies in the SaaS's database."""
    query = (
        "SELECT clinic_clinic.name, clinic_patient.name FROM clinic_patient "
        "JOIN clinic_clinic ON clinic_clinic.id = clinic_patient.clinic_id"
    )
    return [(str(tenant), parse(bytes(stored)).edek) for tenant, stored in story.clinic.rows(query)]


def keys(story: Story) -> Iterator[tuple[str, bytes]]:
    """Every DEK and LEK, with its name; the tenants' keys must be switched on."""
    for tenant, wrapped in edeks(story):
        yield f"a DEK of {tenant}", unwrap(story, tenant, wrapped)
        found = edek.parse(wrapped, tenant)
        if found.elek is not None:
            adapter = LocalKms(LocalKms.Config(str(story.stage.key_file(tenant))), Egress())
            context = KeyContext(VENDOR, tenant, found.config, "lek")
            yield f"the LEK of {tenant}", bytes(adapter.unwrap(edek.blob_of(found.elek), context))
    for tenant in TENANTS:
        held = json.loads(story.stage.key_file(tenant).read_text())
        yield f"the master key of {tenant}", base64.b64decode(held["key"])


def unwrap(story: Story, tenant: str, wrapped: bytes) -> bytes:
    body = {
        "tenantId": tenant,
        "encryptedDocumentKey": base64.b64encode(wrapped).decode(),
        "iclFields": {"requestingId": "t"},
    }
    request = urllib.request.Request(
        f"{story.proxy.url}/api/1/document/unwrap",
        json.dumps(body).encode(),
        {"Authorization": f"cmk {story.proxy.api_key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        return base64.b64decode(json.load(reply)["dek"])


def files(*folders: Path) -> Iterator[tuple[str, bytes]]:
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                yield str(path), path.read_bytes()
