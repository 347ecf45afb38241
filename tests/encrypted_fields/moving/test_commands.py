"""The commands: the way back, what lies where, and what they say and refuse."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from encrypted_fields.moving import progress
from encrypted_fields.moving.decrypting import Decryption
from encrypted_fields.moving.table import Table
from encrypted_fields.testing import MemoryTsp
from tests.encrypted_fields.moving.test_encrypt import encryption, old_rows
from tests.encrypted_fields.moving.test_states import BORN, Deploy, columns
from tests.sample_app.moving import Mover, member


def decryption(state: str, database: str) -> Decryption:
    model = member(state)
    return Decryption(Table(model, database), [model._meta.get_field("name"), model._meta.get_field("born")])


def called(name: str, database: str, *arguments: str, **options: Any) -> str:
    out = io.StringIO()
    call_command(name, *arguments, model=["sample_app.Mover"], database=[database], stdout=out, **options)
    return out.getvalue()


def movers(database: str, count: int) -> None:
    """In clear only."""
    new = Mover.objects.using(database)
    new.bulk_create(Mover(tenant_id="north", name=f"n{n}", born=BORN) for n in range(count))
    with connections[database].cursor() as cursor:
        cursor.execute("UPDATE sample_app_mover SET name_encrypted = NULL, born_encrypted = NULL")


def test_the_way_back_ends_where_it_began(database: str, cmk_tsp: MemoryTsp) -> None:
    last = Deploy("encrypted", database)
    last.rows.bulk_create(last.model(tenant_id="north", name=f"n{n}", born=BORN) for n in range(1500))
    del cmk_tsp.calls[:]
    with pytest.raises(ValueError, match="dual"):
        decryption("encrypted", database)
    done = decryption("dual", database).run()
    assert (done.found, done.written, done.left) == (3000, 3000, {})
    assert [call.route for call in cmk_tsp.calls] == ["batch_unwrap"] * len(cmk_tsp.calls)
    assert columns(database) == [(f"n{n}", True) for n in range(1500)]
    assert decryption("dual", database).run().found == 0
    assert decryption("plaintext", database).run().written == 3000
    assert columns(database) == [(f"n{n}", False) for n in range(1500)]
    assert Deploy("before", database).names() == [f"n{n}" for n in range(1500)]


def test_the_way_back_leaves_what_the_customer_withdrew(database: str, cmk_tsp: MemoryTsp) -> None:
    Deploy("encrypted", database).new(born=None)
    cmk_tsp.revoke("north")
    assert decryption("dual", database).run().left == {"KmsRefused": 1}
    assert columns(database) == [(None, True)]


def test_status_counts_by_state_and_key(database: str, cmk_tsp: MemoryTsp) -> None:
    movers(database, 3)
    Mover.objects.using(database).create(tenant_id="north", name="both", born=None)
    (name, born) = json.loads(called("encryption_status", database, json=True))
    assert name["rows"] == 4
    assert (name["in_clear"], name["sealed"], name["both"], name["null"], name["foreign"]) == (3, 1, 1, 0, 0)
    assert (name["state"], name["configs"], name["row_bound"]) == ("dual", {"1": {"0": 1}}, 1)
    assert (born["in_clear"], born["null"]) == (3, 1)
    table = called("encryption_status", database)
    assert "sample_app.Mover.name" in table
    assert "configuration 1: 1" in table
    assert not [call for call in cmk_tsp.calls if "unwrap" in call.route]


def test_status_fails_for_bytes_that_are_not_ours(database: str, cmk_tsp: MemoryTsp) -> None:
    movers(database, 1)
    with connections[database].cursor() as cursor:
        cursor.execute("UPDATE sample_app_mover SET name_encrypted = %s", [b"in clear after all"])
    with pytest.raises(CommandError, match="1 values are no ciphertext of ours"):
        called("encryption_status", database)


def test_encrypt_existing_tells_what_it_does(database: str, cmk_tsp: MemoryTsp) -> None:
    movers(database, 5)
    del cmk_tsp.calls[:]
    assert "would take 10 values" in called("encrypt_existing", database, dry_run=True)
    assert not cmk_tsp.calls
    out = called("encrypt_existing", database)
    assert "5 of 5 rows" in out
    assert "rows/s" in out
    assert "took 10 values; 10 written, 1 calls" in out
    assert [dict(call.about.custom) for call in cmk_tsp.calls] == [{"command": "encrypt_existing"}]
    assert called("encrypt_existing", database, verbosity=0).startswith("sample_app.Mover (name, born)")


def test_a_command_fails_when_something_is_left(database: str, cmk_tsp: MemoryTsp) -> None:
    movers(database, 2)
    cmk_tsp.revoke("north")
    out = io.StringIO()
    with pytest.raises(CommandError, match="4 values are left"):
        call_command("encrypt_existing", model=["sample_app.Mover"], database=[database], stdout=out)
    assert "KmsRefused" in out.getvalue()


def test_one_field_at_a_time(database: str, cmk_tsp: MemoryTsp) -> None:
    movers(database, 1)
    (told,) = json.loads(called("encrypt_existing", database, field=["born"], json=True))
    assert (told["fields"], told["written"]) == (["born"], 1)


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("encrypt_existing", {"model": ["sample_app.Nothing"]}, "no model"),
        ("encrypt_existing", {"model": ["sample_app.Mover"], "field": ["counter"]}, "no moving field counter"),
        ("encrypt_existing", {"model": ["sample_app.Patient"], "field": ["diagnosis"]}, "no moving field diagnosis"),
        ("decrypt_existing", {}, "--model"),
        ("rekey", {"model": ["sample_app.Mover"], "field": ["counter"]}, "no encrypted field counter"),
    ],
)
def test_names_that_mean_nothing_are_refused(name: str, options: dict[str, Any], match: str) -> None:
    with pytest.raises(CommandError, match=match):
        call_command(name, **options)


def test_pages_by_key_and_never_by_offset(database: str, cmk_tsp: MemoryTsp) -> None:
    old_rows(database, 7)
    table = Table(member("dual"), database)
    pages = list(table.pages([], "1 = 1", size=3))
    assert [len(page) for page in pages] == [3, 3, 1]
    assert len({row[0] for page in pages for row in page}) == 7


def test_the_rows_of_one_transaction_are_few(
    database: str, cmk_tsp: MemoryTsp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer waits for that many updates of ours at most."""
    sizes = list[int]()
    original = Table._execute

    def execute(self: Table, sql: str, rows: Any) -> int:
        sizes.append(len(rows))
        return original(self, sql, rows)

    monkeypatch.setattr(Table, "_execute", execute)
    old_rows(database, 600)
    encryption("dual", database).run()
    assert sizes == [250, 250, 100]


def test_a_bar_on_a_terminal_and_lines_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS", 0.0)
    out = io.StringIO()
    with progress.progress("rows", 10, out) as report:
        report(4)
        report(6)
    assert [line.split(",")[0] for line in out.getvalue().splitlines()] == [
        "rows: 4 of 10 rows", "rows: 10 of 10 rows", "rows: 10 of 10 rows",
    ]  # fmt: skip
    assert progress._bar() is not None  # rich is installed here; without it there are lines
