"""Each state reads, writes and filters as it says, and neighbours in a rolling deploy understand each other."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from django.core.exceptions import FieldError
from django.db import IntegrityError, connections
from django.db.models import Case, Count, F, Value, When
from django.db.models.functions import Coalesce, Upper

from encrypted_fields.core import envelope
from encrypted_fields.moving import PlaintextLeft
from encrypted_fields.testing import MemoryTsp
from tests.sample_app.moving import TABLE, member

BORN = datetime.date(1990, 5, 17)
KEEPS = {"plaintext", "dual"}
STATES = ["plaintext", "dual", "readable", "encrypted"]


class Deploy:
    """The code of one deploy, on one database."""

    def __init__(self, state: str, database: str) -> None:
        self.state, self.database, self.model = state, database, member(state)

    @property
    def rows(self) -> Any:
        return self.model.objects.using(self.database)

    def new(self, name: str = "Ann", **values: Any) -> Any:
        return self.rows.create(**{"tenant_id": "north", "name": name, "born": BORN, **values})

    def names(self) -> list[Any]:
        return [one.name for one in self.rows.order_by("id")]


def columns(database: str, column: str = "name") -> list[tuple[Any, bool]]:
    """(in clear, sealed?) of each row, past the ORM."""
    with connections[database].cursor() as cursor:
        cursor.execute(f"SELECT {column}, {column}_encrypted FROM {TABLE} ORDER BY id")
        found = cursor.fetchall()
    for _, stored in found:
        assert stored is None or envelope.parse(bytes(stored))
    return [(clear, stored is not None) for clear, stored in found]


def expected(state: str, value: Any) -> tuple[Any, bool]:
    return value if state in KEEPS else None, state != "plaintext"


@pytest.fixture(params=STATES)
def deploy(request: pytest.FixtureRequest, database: str, cmk_tsp: MemoryTsp) -> Deploy:
    return Deploy(request.param, database)


def test_each_way_of_writing_fills_the_columns_of_the_state(deploy: Deploy) -> None:
    model, state, rows = deploy.model, deploy.state, deploy.rows
    row = deploy.new("a")
    assert columns(deploy.database) == [expected(state, "a")]
    row.name = "b"
    row.save(update_fields=["name"])
    assert columns(deploy.database) == [expected(state, "b")]
    row.name = "c"
    row.save()
    assert columns(deploy.database) == [expected(state, "c")]
    rows.update(name="d")
    assert columns(deploy.database) == [expected(state, "d")]
    row.name, row.born = "e", BORN + datetime.timedelta(1)
    rows.bulk_update([row], ["name", "born"])
    assert columns(deploy.database) == [expected(state, "e")]
    assert columns(deploy.database, "born")[0][1] is (state != "plaintext")
    rows.update(name=Case(When(id=row.pk, then=Value("f")), default=F("name")), note="n")
    assert columns(deploy.database) == [expected(state, "f")]
    fresh = rows.get()
    assert (fresh.name, fresh.born, fresh.note) == ("f", BORN + datetime.timedelta(1), "n")
    fresh.save()
    assert columns(deploy.database) == [expected(state, "f")]
    rows.bulk_create([model(tenant_id="north", name=f"g{at}", born=None) for at in range(3)])
    assert columns(deploy.database)[1:] == [expected(state, f"g{at}") for at in range(3)]
    assert columns(deploy.database, "born")[1:] == [(None, False)] * 3
    assert deploy.names() == ["f", "g0", "g1", "g2"]


def test_values_instances_and_annotations_read_alike(deploy: Deploy) -> None:
    deploy.new("Ann")
    assert deploy.rows.values_list("name", "born").get() == ("Ann", BORN)
    assert deploy.rows.annotate(again=F("name")).values("again").get() == {"again": "Ann"}
    assert deploy.rows.only("name").get().name == "Ann"
    assert deploy.rows.defer("name").get().name == "Ann"
    assert deploy.model.objects.using(deploy.database).raw(f"SELECT * FROM {TABLE}")[0].name == "Ann"
    row = deploy.rows.get()
    row.name = "Bob"
    row.refresh_from_db()
    assert row.name == "Ann"


def test_null_is_null_in_both_columns(deploy: Deploy) -> None:
    deploy.new(born=None)
    deploy.new()
    assert columns(deploy.database, "born")[0] == (None, False)
    assert deploy.rows.filter(born=None).count() == deploy.rows.filter(born__isnull=False).count() == 1
    row = deploy.rows.get(born__isnull=False)
    row.born = None
    row.save(update_fields=["born"])
    assert columns(deploy.database, "born") == [(None, False)] * 2
    deploy.rows.update(born=BORN)
    deploy.rows.update(born=None)
    assert columns(deploy.database, "born") == [(None, False)] * 2
    assert [one.born for one in deploy.rows.all()] == [None, None]
    with pytest.raises(IntegrityError):
        deploy.new(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", ["dual", "readable"])
def test_a_row_that_old_code_wrote_is_found_in_clear(state: str, database: str, cmk_tsp: MemoryTsp) -> None:
    Deploy("before", database).new("Old")
    new = Deploy(state, database)
    assert new.names() == ["Old"]
    assert new.rows.values_list("name", "born").get() == ("Old", BORN)
    assert new.rows.only("name").get().name == "Old"
    assert new.model.objects.using(database).raw(f"SELECT * FROM {TABLE}")[0].name == "Old"
    assert new.rows.filter(name__isnull=True).count() == 0
    assert not cmk_tsp.calls
    row = new.rows.get()
    row.name = None
    assert row.name is None
    row = new.rows.get()
    row.save()
    assert columns(database) == [expected(state, "Old")]


def test_encrypted_only_never_reads_clear_in_silence(database: str, cmk_tsp: MemoryTsp) -> None:
    Deploy("before", database).new("Old")
    last = Deploy("encrypted", database)
    for read in (
        lambda: last.rows.get(),
        lambda: last.rows.values("name").get(),
        lambda: last.rows.only("name").get().name,
        lambda: last.model.objects.using(database).raw(f"SELECT * FROM {TABLE}")[0].name,
    ):
        with pytest.raises(PlaintextLeft):
            read()
    assert columns(database) == [("Old", False)]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [("before", "plaintext"), ("plaintext", "dual"), ("dual", "readable"), ("dual", "encrypted"),
     ("readable", "encrypted"), ("encrypted", "after")],
)  # fmt: skip
def test_neighbours_read_what_the_other_wrote(earlier: str, later: str, database: str, cmk_tsp: MemoryTsp) -> None:
    """A rolling deploy in both directions: every write of one is what the other reads next."""
    one, other = Deploy(earlier, database), Deploy(later, database)
    one.new("a")
    if later == "after":
        assert other.names() == ["a"]
    for turn, (writer, reader) in enumerate([(other, one), (one, other), (other, one), (one, other)]):
        row = writer.rows.get()
        row.name = f"saved {turn}"
        row.save()
        assert reader.names() == [f"saved {turn}"]
        writer.rows.update(name=f"updated {turn}")
        assert reader.names() == [f"updated {turn}"]
        assert reader.rows.values_list("name", flat=True).get() == f"updated {turn}"


def test_filters_ask_the_column_in_clear_as_long_as_it_is_whole(database: str, cmk_tsp: MemoryTsp) -> None:
    Deploy("before", database).new("Old")
    for state in ("plaintext", "dual"):
        new = Deploy(state, database)
        new.new(f"New {state}")
        assert new.rows.filter(name="Old").count() == 1
        assert new.rows.filter(name__startswith="New").exists()
        assert new.rows.exclude(name="Old").count() == new.rows.count() - 1
        assert new.rows.filter(name__in=["Old", f"New {state}"], born__year=1990).count() == 2
        assert new.rows.filter(born__gt=datetime.date(1980, 1, 1)).count() == new.rows.count()
    for state in ("readable", "encrypted"):
        for lookup in ("name", "name__startswith", "born__year"):
            with pytest.raises(FieldError):
                Deploy(state, database).rows.filter(**{lookup: 1990})


def test_what_cannot_be_right_in_the_middle_is_refused(database: str, cmk_tsp: MemoryTsp) -> None:
    new = Deploy("dual", database)
    row = new.new()
    with pytest.raises(FieldError):
        new.rows.update(name=Coalesce(F("name"), Value("x")))
    with pytest.raises(FieldError):
        new.rows.aggregate(n=Count("name"))
    with pytest.raises(FieldError):
        list(new.rows.order_by("name"))
    with pytest.raises(ValueError, match="name_plain"):
        new.rows.bulk_create([row], update_conflicts=True, unique_fields=["id"], update_fields=["name"])
    assert new.names() == ["Ann"]


def test_a_conditional_update_keeps_what_it_does_not_reach(database: str, cmk_tsp: MemoryTsp) -> None:
    """Also a row that is still in clear only, in the state that leaves nothing in clear of what it writes."""
    Deploy("before", database).new("Old")
    new = Deploy("readable", database)
    row = new.new("New")
    new.rows.update(name=Case(When(id=row.pk, then=Value("x")), default=F("name")))
    assert new.names() == ["Old", "x"]
    assert columns(database) == [("Old", False), (None, True)]


def test_before_the_first_ciphertext_all_of_sql_works(database: str, cmk_tsp: MemoryTsp) -> None:
    first = Deploy("plaintext", database)
    first.new("ann")
    first.rows.update(name=Upper("name"))
    assert list(first.rows.order_by("name").values_list("name", flat=True)) == ["ANN"]
    row = first.rows.get()
    row.name = Upper(F("name"))
    row.save()
    assert columns(database) == [("ANN", False)]
    assert not cmk_tsp.calls


def test_a_customer_who_withdrew_access_is_not_read_around(database: str, cmk_tsp: MemoryTsp) -> None:
    """In dual the value lies in clear as well; the ciphertext decides."""
    new = Deploy("dual", database)
    new.new("Ann")
    cmk_tsp.revoke("north")
    row = new.rows.get()
    assert not row.name
    row.note = "kept"
    row.save()
    assert columns(database) == [("Ann", True)]


def test_a_row_that_was_loaded_in_part_keeps_both_columns(deploy: Deploy) -> None:
    deploy.new("Ann")
    deploy.rows.only("name").get().save()
    assert columns(deploy.database) == [expected(deploy.state, "Ann")]
    row = deploy.rows.only("name", "note").get()
    row.name = "Bob"
    row.save()
    assert columns(deploy.database) == [expected(deploy.state, "Bob")]
    row = deploy.rows.defer("name_plain").get()
    row.note = "n"
    row.save()
    row = deploy.rows.defer("name").get()
    row.note = "m"
    row.save()
    assert columns(deploy.database) == [expected(deploy.state, "Bob")]
    assert deploy.names() == ["Bob"]


def test_a_form_is_that_of_the_inner_field(database: str) -> None:
    from django.forms import modelform_factory

    form = modelform_factory(member("dual"), fields=["name", "born", "tenant_id"])
    assert set(form.base_fields) == {"name", "born", "tenant_id"}
    assert form.base_fields["name"].required
    assert not form({"tenant_id": "north", "name": "", "born": BORN}).is_valid()
    assert form({"tenant_id": "north", "name": "Ann", "born": BORN}).is_valid()
