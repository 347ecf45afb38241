"""`rekey`: 1,000 wrapped keys in a call, one failure leaves one row, and a run that was killed goes on."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from encrypted_fields.core import envelope, protobuf
from encrypted_fields.core.errors import CmkError, KmsUnreachable, KmsUnwrapFailed
from encrypted_fields.core.protocol import Metadata, NoSuchRoute, WrappedKey
from encrypted_fields.moving import tally
from encrypted_fields.moving.edek import facts
from encrypted_fields.moving.rekeying import Rekeying
from encrypted_fields.moving.table import Table
from encrypted_fields.testing import MemoryTsp, stored_bytes
from tests.encrypted_fields.moving.test_states import BORN, Deploy, columns
from tests.sample_app.moving import Mover


class NewPrimary(MemoryTsp):
    """The tenant has made its configuration 2 the primary one: new and rekeyed EDEKs carry that number.

    `failing_keys`: EDEKs with their errors, each as often as it stands there. `dies_at`: the number of the batch that
    is not answered any more.
    """

    renewed = False
    dies_at = 0

    def __init__(self) -> None:
        super().__init__()
        self.failing_keys: dict[bytes, list[CmkError]] = {}

    def batch_rekey(self, about: Metadata, edeks: Sequence[bytes], new_tenant: str) -> list[bytes | CmkError]:
        if self.dies_at and self.routes().count("batch_rekey") + 1 == self.dies_at:
            raise KeyboardInterrupt
        return super().batch_rekey(about, edeks, new_tenant)

    def routes(self) -> list[str]:
        return [call.route for call in self.calls]

    def _wrap(self, tenant: str, dek: bytes | None = None) -> WrappedKey:
        found = super()._wrap(tenant, dek)
        return WrappedKey(found.dek, self._numbered(found.edek, 2)) if self.renewed else found

    def _unwrap(self, tenant: str, edek: bytes) -> bytearray:
        if self.failing_keys.get(edek):
            raise self.failing_keys[edek].pop()
        return super()._unwrap(tenant, self._numbered(edek, 1))

    @staticmethod
    def _numbered(edek: bytes, number: int) -> bytes:
        inner = dict(protobuf.fields(dict(protobuf.fields(edek))[1]))  # type: ignore[arg-type]
        return protobuf.length(1, protobuf.length(1, inner[1]) + protobuf.varint(2, number))  # type: ignore[arg-type]


@pytest.fixture
def tsp(monkeypatch: pytest.MonkeyPatch) -> Iterator[NewPrimary]:
    monkeypatch.setattr(tally, "_sleep", lambda seconds: None)
    with NewPrimary() as found:
        yield found


def members(tsp: NewPrimary, database: str, tenants: Sequence[str]) -> Deploy:
    """A sealed row for each, before the tenants changed their primary configuration."""
    new = Deploy("encrypted", database)
    new.rows.bulk_create(new.model(tenant_id=name, name=f"n{n}", born=BORN) for n, name in enumerate(tenants))
    tsp.renewed = True
    del tsp.calls[:]
    return new


def rekeying(new: Deploy, **options: Any) -> Rekeying:
    fields = [new.model._meta.get_field(name) for name in ("name", "born")]
    return Rekeying(Table(new.model, new.database), fields, **options)


def edek(row: Any) -> bytes:
    return envelope.parse(stored_bytes(row, "name") or b"").edek


def configs(new: Deploy) -> list[int]:
    return [facts(edek(row)).config for row in new.rows.order_by("id")]


def test_changes_wrapped_keys_and_nothing_else(database: str, tsp: NewPrimary) -> None:
    new = Deploy("dual", database)
    for name in ("a", "b", "c"):
        new.new(name)
    before = [stored_bytes(row, "name") for row in new.rows.order_by("id")]
    tsp.renewed = True
    new.new("fresh")
    del tsp.calls[:]
    done = rekeying(new).run()
    # the two values of a row share their key; one call learns the number of the primary configuration
    assert (done.found, done.written, done.left, done.calls) == (6, 6, {}, 2)
    assert [(call.route, call.count) for call in tsp.calls] == [("wrap", 1), ("batch_rekey", 3)]
    after = [stored_bytes(row, "name") for row in new.rows.order_by("id")][:3]
    for one, other in zip(before, after, strict=True):
        old, now = envelope.parse(one or b""), envelope.parse(other or b"")
        assert (old.sealed, facts(old.edek).config, facts(now.edek).config) == (now.sealed, 1, 2)
    assert new.names() == ["a", "b", "c", "fresh"]
    assert rekeying(new).run().found == 0
    assert rekeying(new, every=True).run().written == 8
    assert new.names() == ["a", "b", "c", "fresh"]


def test_2500_rows_are_three_calls(database: str, tsp: NewPrimary) -> None:
    """And those of tenants whose rows lie among each other are not more; a failure of one key leaves its row only."""
    new = members(tsp, database, ["north"] * 2500)
    bad = new.rows.order_by("id")[1234]
    tsp.failing_keys[edek(bad)] = [KmsUnwrapFailed()]
    done = rekeying(new).run()
    assert [call.count for call in tsp.calls if call.route == "batch_rekey"] == [1000, 1000, 500]
    assert (done.found, done.written, done.left) == (5000, 4998, {"KmsUnwrapFailed": 2})
    assert done.rows["KmsUnwrapFailed"] == [str(bad.pk)] * 2
    assert [number for number, config in enumerate(configs(new)) if config == 1] == [1234]
    assert new.names() == [f"n{n}" for n in range(2500)]
    del tsp.calls[:]
    assert rekeying(new).run().written == 2  # the next run takes it
    assert tsp.routes() == ["wrap", "batch_rekey"]


def test_keys_of_many_tenants_wait_for_their_like(database: str, tsp: NewPrimary) -> None:
    new = members(tsp, database, ["north", "south", "east"] * 800)
    done = rekeying(new).run()
    assert (done.written, set(configs(new))) == (4800, {2})
    assert sorted(call.count for call in tsp.calls if call.route == "batch_rekey") == [800, 800, 800]


def test_few_keys_wait_at_a_time(database: str, tsp: NewPrimary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("encrypted_fields.moving.rekeying.MOST", 100)
    new = members(tsp, database, ["north", "south"] * 150)
    job = rekeying(new)
    monkeypatch.setattr(job, "size", 60)
    assert job.run().written == 600
    assert max(call.count for call in tsp.calls) <= 100
    assert set(configs(new)) == {2}


def test_goes_on_where_it_was_killed(database: str, tsp: NewPrimary) -> None:
    new = members(tsp, database, ["north"] * 2500)
    tsp.dies_at = 2
    with pytest.raises(KeyboardInterrupt):
        rekeying(new).run()
    assert configs(new) == [2] * 1000 + [1] * 1500
    tsp.dies_at = 0
    del tsp.calls[:]
    assert rekeying(new).run().written == 3000
    assert [call.count for call in tsp.calls if call.route == "batch_rekey"] == [1000, 500]
    assert (set(configs(new)), new.names()) == ({2}, [f"n{n}" for n in range(2500)])


def test_asks_again_for_what_may_work_later(database: str, tsp: NewPrimary) -> None:
    """For these keys only; what does not get better ends the run, and the others are written before."""
    new = members(tsp, database, ["north"] * 3)
    slow = edek(new.rows.order_by("id")[1])
    tsp.failing_keys[slow] = [KmsUnreachable(), KmsUnreachable()]
    assert rekeying(new).run().written == 6
    assert [call.count for call in tsp.calls if call.route == "batch_rekey"] == [3, 1, 1]
    tsp.failing_keys[edek(new.rows.order_by("id")[0])] = [KmsUnreachable() for _ in range(9)]
    before = [edek(row) for row in new.rows.order_by("id")]
    with pytest.raises(KmsUnreachable):
        rekeying(new, every=True).run()
    tsp.failing_keys.clear()
    assert [edek(row) == old for row, old in zip(new.rows.order_by("id"), before, strict=True)] == [True, False, False]
    assert new.names() == ["n0", "n1", "n2"]


def test_leaves_the_rows_of_a_tenant_that_withdrew(database: str, tsp: NewPrimary) -> None:
    new = members(tsp, database, ["north", "south", "north"])
    tsp.revoke("north")
    for every in (False, True):
        done = rekeying(new, every=every).run()
        assert (done.written, done.left) == (2, {"KmsRefused": 4})
    assert configs(new) == [1, 2, 1]


def test_does_not_overwrite_a_writer(database: str, tsp: NewPrimary, monkeypatch: pytest.MonkeyPatch) -> None:
    new = Deploy("dual", database)
    new.new("a")
    tsp.renewed = True
    job = rekeying(new)
    original = job.keys.renewed

    def disturbed(*arguments: Any) -> Any:
        """A writer between our reading and our writing."""
        with connections[database].cursor() as cursor:
            cursor.execute("UPDATE sample_app_member SET name_encrypted = NULL, born_encrypted = NULL")
        return original(*arguments)

    monkeypatch.setattr(job.keys, "renewed", disturbed)
    done = job.run()
    assert (done.written, done.overtaken) == (0, 0)
    assert columns(database) == [("a", False)]


class Published(NewPrimary):
    """A proxy that knows the wire API only as IronCore published it."""

    def batch_rekey(self, about: Metadata, edeks: Sequence[bytes], new_tenant: str) -> list[bytes | CmkError]:
        self._note("batch_rekey", about, len(edeks))
        raise NoSuchRoute("the proxy has no document/batch-rekey")


def test_one_call_a_key_only_when_somebody_says_so(database: str) -> None:
    """A proxy without batch-rekey is told as such."""
    with Published() as tsp:
        for n in range(3):
            Mover.objects.using(database).create(tenant_id="north", name=f"n{n}", born=BORN)
        tsp.renewed = True
        options: dict[str, Any] = {"model": ["sample_app.Mover"], "database": [database], "stdout": io.StringIO()}
        with pytest.raises(CommandError, match="document/batch-rekey"):
            call_command("rekey", **options)
        assert "rekey" not in tsp.routes()
        del tsp.calls[:]
        call_command("rekey", json=True, one_by_one=True, **options)
        assert json.loads(options["stdout"].getvalue())[0]["written"] == 6
        assert sorted(tsp.routes()) == ["rekey"] * 3 + ["wrap"]
        assert {row.name for row in Mover.objects.using(database)} == {"n0", "n1", "n2"}
