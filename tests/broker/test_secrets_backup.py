"""A backup of tenant secrets: what it holds, who gets it, and that it comes back without harm."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import QuerySet
from django.test import Client
from django.urls import reverse

from broker import services
from broker.errors import BackupRefused
from broker.models import Config, Counter, TenantSecret, Trail
from tests.broker.factories import BY, TenantFactory, VendorFactory, publish, secret, settle

pytestmark = pytest.mark.django_db


def backup(config: Config) -> dict[str, Any]:
    return services.export_secrets(vendor=config.tenant.vendor, by=BY)


def restore(config: Config, found: object) -> tuple[int, int]:
    return services.restore_secrets(vendor=config.tenant.vendor, backup=found, by=BY)


def lose_everything() -> None:
    """What a disaster does, and no code of ours can."""
    rows = TenantSecret.objects.all()
    QuerySet._raw_delete(rows, rows.db)
    Counter.objects.filter(name="secret").delete()


def snapshot() -> list[tuple[Any, ...]]:
    rows = TenantSecret.objects.order_by("number")
    return [
        (r.number, r.tenant_id, r.config_id, r.kind, r.path, r.place, bytes(r.wrapped), r.state, r.created)
        for r in rows
    ]


@pytest.fixture
def rotated(config: Config) -> Config:
    """A place with a secret in each state, and another place."""
    for _ in range(2):
        services.begin_rotation(secret=secret(config), by=BY)
        now = secret(config)
        if now.number == 2:
            settle(config.tenant)
            services.commit_rotation(secret=TenantSecret.objects.get(number=1), by=BY)
    secret(config, "ärztlich ✓", "vector", bytes(range(256)))
    return config


def test_everything_comes_back_as_it_was(rotated: Config) -> None:
    before = snapshot()
    assert [row[7] for row in before] == ["archived", "in_rotation", "current", "current"]
    held = json.loads(json.dumps(backup(rotated)))
    lose_everything()
    assert restore(rotated, held) == (4, 0)
    assert snapshot() == before
    assert restore(rotated, held) == (0, 4)
    assert secret(rotated, "new").number == 5


def test_a_rotation_after_the_backup_is_not_undone(rotated: Config) -> None:
    held = backup(rotated)
    settle(rotated.tenant)
    services.commit_rotation(secret=TenantSecret.objects.get(number=2), by=BY)
    before = snapshot()
    assert restore(rotated, held) == (0, 4)
    assert snapshot() == before


def test_a_secret_that_was_replaced_meanwhile_opens_beside_its_replacement(config: Config) -> None:
    secret(config)
    held = backup(config)
    lose_everything()
    Counter.objects.create(name="secret", value=50)
    secret(config, wrapped=b"made after the loss")
    assert restore(config, held) == (1, 0)
    assert dict(TenantSecret.objects.values_list("number", "state")) == {1: "in_rotation", 51: "current"}


def _another_number(held: dict[str, Any]) -> None:
    held["secrets"][0]["wrapped"] = "AAAA"


def _another_config(held: dict[str, Any]) -> None:
    held["secrets"][0] |= {"id": 900, "config": 77}


def _damaged(held: dict[str, Any]) -> None:
    held["secrets"][-1]["wrapped"] = "*"


def _member(held: dict[str, Any]) -> None:
    held["secrets"][0]["more"] = 1


def _state(held: dict[str, Any]) -> None:
    held["secrets"][0]["state"] = "lost"


def _vendor(held: dict[str, Any]) -> None:
    held["vendor"] = "other"


def _format(held: dict[str, Any]) -> None:
    held["format"] = "cmk/secrets-backup/2"


def _no_room(held: dict[str, Any]) -> None:
    held["secrets"].append({**held["secrets"][1], "id": 901})


@pytest.mark.parametrize(
    "spoil", [_another_number, _another_config, _damaged, _member, _state, _vendor, _format, _no_room]
)
def test_what_does_not_fit_is_refused_as_a_whole(rotated: Config, spoil: Callable[[dict[str, Any]], None]) -> None:
    held = json.loads(json.dumps(backup(rotated)))
    extra = {**held["secrets"][-1], "id": 800, "path": "would be restored"}
    spoil(held)
    held["secrets"].insert(0, extra)
    before, numbers = snapshot(), Counter.objects.get(name="secret").value
    with pytest.raises(BackupRefused):
        restore(rotated, held)
    assert snapshot() == before
    assert Counter.objects.get(name="secret").value == numbers


@pytest.mark.parametrize("found", [None, [], {}, {"secrets": {}}, "text"])
def test_other_json_is_no_backup(config: Config, found: object) -> None:
    with pytest.raises(BackupRefused, match="not a backup"):
        restore(config, found)


def test_the_operator_gets_a_file_with_the_vendors_secrets_and_no_others(operator: Client, rotated: Config) -> None:
    other = TenantFactory(vendor=VendorFactory())
    secret(services.allocate_config(tenant=other, kind="kms", by=BY), "theirs")
    answer = operator.get(reverse("api-backup", args=[rotated.tenant.vendor_id]))
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="secrets-')
    assert answer.headers["Cache-Control"] == "no-store"
    assert [row["id"] for row in answer.json()["secrets"]] == [1, 2, 3, 4]
    assert Trail.objects.get(action="secrets.exported").user is not None


def told(*words: str) -> str:
    out = StringIO()
    call_command("broker_secrets", *words, stdout=out)
    return out.getvalue()


def test_the_command_lists_rotates_saves_and_restores(config: Config, tmp_path: Path) -> None:
    who = ("--vendor", config.tenant.vendor.name)
    where = (*who, "--tenant", config.tenant.name, "--type", "deterministic", "--path", "mail")
    publish(config)
    assert "no secrets yet" in told("list", *who)
    secret(config)
    assert "secret 1 is in rotation" in told("begin", *where)
    secret(config)
    with pytest.raises(CommandError, match="half a minute"):
        told("commit", *where)
    settle(config.tenant)
    assert "secret 1 is archived" in told("commit", *where)
    listed = told("list", *who, "--tenant", config.tenant.name).splitlines()
    assert [("Archived" in line, "Current" in line) for line in listed] == [(False, True), (True, False)]
    file = tmp_path / "secrets.json"
    assert "2 secrets in" in told("export", *who, "--out", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(CommandError, match="--out cannot be written"):
        told("export", *who, "--out", str(file))
    lose_everything()
    assert "2 restored, 0 were there already" in told("restore", *who, str(file))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("list", "--vendor", "nobody"), "check --vendor"),
        (("list", "--vendor", "{v}", "--tenant", "nobody"), "check --tenant"),
        (("begin", "--vendor", "{v}", "--tenant", "{t}", "--type", "vector", "--path", "x"), "no such secret"),
        (("restore", "--vendor", "{v}", "/nowhere"), "cannot be read"),
        (("restore", "--vendor", "{v}", __file__), "not JSON"),
    ],
)
def test_the_command_says_what_is_wrong(config: Config, words: tuple[str, ...], said: str) -> None:
    names = {"v": config.tenant.vendor.name, "t": config.tenant.name}
    with pytest.raises(CommandError, match=said):
        told(*(word.format(**names) for word in words))
