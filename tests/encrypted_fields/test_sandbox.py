"""The fields against a real proxy: the sandbox, in its own process, over HTTP."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage
from django.db.transaction import atomic
from django.test import override_settings

from encrypted_fields import AccessRefused, Locked, acting, reuse_keys
from encrypted_fields.core.errors import InvalidCiphertext, KmsRefused, Unauthorized
from encrypted_fields.testing import assert_encrypted, stored_bytes
from tests.encrypted_fields.test_binding import put
from tests.sample_app.models import Patient, Scan
from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module", params=[False, True], ids=["kms", "leased"])
def sandbox(request: Any) -> Iterator[Sandbox]:
    server = Sandbox(["north", "south"], leased=request.param)
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _use(sandbox: Sandbox) -> Iterator[None]:
    with override_settings(CMK_TSP_URL=sandbox.url, CMK_TSP_API_KEY=sandbox.api_key):
        yield


def test_rows_are_sealed_and_opened(sandbox: Sandbox) -> None:
    Patient.objects.bulk_create(
        Patient(tenant_id=name, name=f"{n:04}", diagnosis=f"d{n}", born=datetime.date(2000, 1, 1), file_number=n)
        for n in range(600)
        for name in ("north", "south")
    )
    for name in ("north", "south"):
        rows = list(Patient.objects.filter(tenant_id=name).order_by("name"))
        assert [(row.diagnosis, row.file_number) for row in rows] == [(f"d{n}", n) for n in range(600)]
        assert_encrypted(rows[0], "diagnosis")


def test_swaps_are_refused_by_the_proxy_and_by_the_value(sandbox: Sandbox) -> None:
    north, south = (Patient.objects.create(tenant_id=name, diagnosis="flu") for name in ("north", "south"))
    other = Patient.objects.create(tenant_id="north", diagnosis="cold")
    for source in (south, other):
        put(north, "diagnosis", stored_bytes(source, "diagnosis"))
        found = Patient.objects.get(pk=north.pk)
        try:
            assert isinstance(found.diagnosis, Locked)  # the proxy: not a configuration of this tenant
        except InvalidCiphertext:
            continue


def test_a_file_is_sealed_and_opened(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scan._meta.get_field("image"), "storage", InMemoryStorage())
    data = bytes(range(256)) * 1000
    Scan.objects.create(tenant_id="north", image=ContentFile(data, "scan.png"))
    with Scan.objects.get().image.open() as file:
        assert file.read() == data


def test_a_wrong_api_key_is_named(sandbox: Sandbox) -> None:
    with override_settings(CMK_TSP_API_KEY="d3Jvbmcga2V5IGluZGVlZA=="), pytest.raises(Unauthorized), atomic():
        Patient.objects.create(tenant_id="north", diagnosis="flu")


def test_what_was_reused_and_refused_is_in_the_customers_trail(sandbox: Sandbox) -> None:
    for name in ("a", "b"):
        Patient.objects.create(tenant_id="north", name=name, diagnosis="flu")
    me = f"person-{Patient.objects.filter(name='a').get().pk}"
    rows = Patient.objects.filter(tenant_id="north", name__in=["a", "b"])
    with acting(me, reason="a second look"), reuse_keys(seconds=30, uses=10):
        for _ in range(3):
            assert [row.diagnosis for row in rows.all()] == ["flu", "flu"]
    with acting(me), override_settings(CMK_POLICY=lambda ask: "never"), pytest.raises(AccessRefused):
        rows.all()[0].diagnosis  # noqa: B018
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        mine = [event for event in sandbox.events() if event.get("requesting_id") == me]
        if any(event["action"] == "DATA_DENY_ACCESS" for event in mine):
            break
        time.sleep(0.05)
    assert [(event["action"], event.get("count", 1)) for event in mine if event["action"] == "dek.unwrap"] == [
        ("dek.unwrap", 1)
    ] * 2
    assert [(event["action"], event.get("count", 1)) for event in mine if event["action"] == "dek.report"] == [
        ("dek.report", 2)
    ] * 2
    assert {event["custom"].get("reason") for event in mine[:-1]} == {"a second look"}
    assert mine[-1]["custom"] == {"action": "decrypt", "policy": "never"}


def test_withdrawing_the_key_locks_one_tenant_and_not_the_other(sandbox: Sandbox) -> None:
    for name in ("north", "south"):
        Patient.objects.create(tenant_id=name, diagnosis=f"of {name}")
    sandbox.revoke("south")
    try:
        with pytest.raises(KmsRefused), atomic():
            _until_refused()
        shown = {row.tenant_id: row.diagnosis for row in Patient.objects.exclude(diagnosis=None)}
        assert shown["north"] == "of north"
        assert isinstance(shown["south"], Locked)
    finally:
        sandbox.restore("south")


def _until_refused() -> None:
    """A leased key lives until its next proof: keep asking, within the test's own time limit."""
    import time

    while True:
        Patient.objects.create(tenant_id="south", diagnosis="x").delete()
        time.sleep(0.2)
