"""`encrypt_existing` seals what lies in clear, clears what is sealed, and never overwrites what somebody wrote."""

from __future__ import annotations

from typing import Any

import pytest

from encrypted_fields.core.errors import TspUnreachable
from encrypted_fields.moving import encrypting, tally
from encrypted_fields.moving.encrypting import Encryption
from encrypted_fields.moving.table import Table
from encrypted_fields.testing import MemoryTsp
from tests.encrypted_fields.moving.test_states import Deploy, columns
from tests.sample_app.moving import member


def encryption(state: str, database: str, **options: Any) -> Encryption:
    model = member(state)
    fields = [model._meta.get_field("name"), model._meta.get_field("born")]
    return Encryption(Table(model, database), fields, **options)


def old_rows(database: str, count: int, tenant_id: str = "north") -> None:
    model = member("before")
    model.objects.using(database).bulk_create(model(tenant_id=tenant_id, name=f"n{n}") for n in range(count))


def test_seals_all_with_one_call_per_thousand_rows(database: str, cmk_tsp: MemoryTsp) -> None:
    old_rows(database, 2050)
    Deploy("before", database).new("with a date")
    done = encryption("dual", database).run()
    assert (done.found, done.written, done.calls, len(cmk_tsp.calls)) == (2052, 2052, 3, 3)
    assert {call.about.data_label for call in cmk_tsp.calls} == {"sample_app.member"}
    assert all(sealed for _, sealed in columns(database))
    assert Deploy("after", database).names() == [f"n{n}" for n in range(2050)] + ["with a date"]
    assert encryption("dual", database).run().found == 0


def test_a_row_has_one_key_for_all_its_fields(database: str, cmk_tsp: MemoryTsp) -> None:
    Deploy("before", database).new()
    assert encryption("dual", database).run().written == 2
    assert [call.count for call in cmk_tsp.calls] == [1]


def test_dry_run_counts_and_touches_nothing(database: str, cmk_tsp: MemoryTsp) -> None:
    old_rows(database, 3)
    assert encryption("dual", database).run(dry_run=True).found == 3
    assert columns(database) == [(f"n{n}", False) for n in range(3)]
    assert not cmk_tsp.calls


def test_one_tenant_at_a_time(database: str, cmk_tsp: MemoryTsp) -> None:
    old_rows(database, 2)
    old_rows(database, 2, "south")
    assert encryption("dual", database, tenant="south").run().written == 2
    assert [sealed for _, sealed in columns(database)] == [False, False, True, True]


def test_a_writer_in_between_is_never_overwritten_and_is_picked_up(
    database: str, cmk_tsp: MemoryTsp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading a page and writing it: an update by old code, one by new code, a delete, a change to NULL."""
    old_rows(database, 5)
    before, new = Deploy("before", database), Deploy("dual", database)
    original = encrypting.keys_to_seal

    def disturbed(*args: Any) -> Any:
        if before.rows.filter(name="n0").exists():
            before.rows.filter(name="n0").update(name="old code")
            new.rows.filter(name="n1").update(name="new code")
            before.rows.filter(name="n2").delete()
            row = new.rows.get(name="n3")
            row.name = "saved"
            row.save()
        return original(*args)

    monkeypatch.setattr(encrypting, "keys_to_seal", disturbed)
    done = encryption("dual", database).run()
    assert (done.written, done.overtaken) == (2, 0)
    assert new.names() == ["old code", "new code", "saved", "n4"]
    assert columns(database) == [(name, True) for name in new.names()]


def test_the_states_without_clear_text_clear_only_what_the_ciphertext_says(database: str, cmk_tsp: MemoryTsp) -> None:
    dual = Deploy("dual", database)
    dual.new("both")
    old_rows(database, 1)
    stale = dual.new("stale")
    Deploy("before", database).rows.filter(pk=stale.pk).update(name="newer")  # by code that knows no ciphertext
    assert encryption("encrypted", database).run().left == {}
    assert columns(database) == [(None, True)] * 3
    assert Deploy("after", database).names() == ["both", "n0", "newer"]
    assert encryption("encrypted", database).run().found == 0


def test_verify_finds_what_code_before_the_move_wrote_over(database: str, cmk_tsp: MemoryTsp) -> None:
    dual = Deploy("dual", database)
    row = dual.new("stale")
    Deploy("before", database).rows.filter(pk=row.pk).update(name="newer")
    assert encryption("dual", database).run().found == 0
    assert encryption("dual", database, verify=True).run().written == 1
    assert dual.names() == ["newer"]
    assert columns(database) == [("newer", True)]


def test_what_cannot_be_opened_is_left_and_told(database: str, cmk_tsp: MemoryTsp) -> None:
    Deploy("dual", database).new("Ann")
    cmk_tsp.revoke("north")
    old_rows(database, 1, "south")
    old_rows(database, 1, "north")
    done = encryption("encrypted", database).run()
    assert done.left == {"beside it: KmsRefused": 2, "KmsRefused": 1}
    assert columns(database)[0] == ("Ann", True)
    assert columns(database)[1:] == [(None, True), ("n0", False)]


def test_a_forged_ciphertext_is_never_taken_for_nothing(database: str, cmk_tsp: MemoryTsp) -> None:
    row = Deploy("dual", database).new("Ann", born=None)
    stored = member("dual")._meta.get_field("name")
    table = Table(member("dual"), database)
    (page,) = table.pages([stored], "1 = 1")
    table.swap([(stored, True)], [], [(table.bytes(bytes(page[0][1])[:-1] + b"\0"), row.pk)])
    done = encryption("encrypted", database).run()
    assert done.left == {"beside it: InvalidCiphertext": 1}
    assert done.rows == {"beside it: InvalidCiphertext": [str(row.pk)]}
    assert columns(database)[0][0] == "Ann"


def test_a_row_without_a_tenant_is_left_and_told(database: str, cmk_tsp: MemoryTsp) -> None:
    old_rows(database, 1, "")
    assert encryption("dual", database).run().left == {"no tenant": 1}


def test_refuses_the_state_in_which_other_code_would_not_see_it(database: str) -> None:
    with pytest.raises(ValueError, match="dual"):
        encryption("plaintext", database)


def test_waits_for_a_proxy_that_is_away_and_then_gives_up(
    database: str, cmk_tsp: MemoryTsp, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_rows(database, 1)
    cmk_tsp.failing, waited = TspUnreachable(), list[float]()

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 3:
            cmk_tsp.failing = None

    monkeypatch.setattr(tally, "_sleep", sleep)
    assert encryption("dual", database).run().written == 1
    assert len(waited) == 3
    old_rows(database, 1)
    cmk_tsp.failing = TspUnreachable()
    waited.extend([0.0] * 3)
    with pytest.raises(TspUnreachable):
        encryption("dual", database).run()
    assert columns(database)[1] == ("n0", False)
