"""PostgreSQL sends the rows of our queries in binary, and what is read is what Django reads from text. ADR 0024."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db import DataError, connections, models
from django.db.models import Count
from django.db.models.functions import Length
from django.db.transaction import atomic, set_rollback
from django.test.utils import CaptureQueriesContext
from psycopg.pq import Format

from encrypted_fields import EncryptedField
from encrypted_fields.fields import reader
from encrypted_fields.fields.binary import ALIKE
from encrypted_fields.testing import MemoryTsp
from tests.encrypted_fields.matrix.models import SHAPES, model

Row = SHAPES["uuid"]["text"][1].row
UTC = datetime.UTC
VALUES: dict[str, tuple[Any, list[Any]]] = {
    "bytea": (models.BinaryField, [b"", b"\x00\\x\xff", bytes(range(256)) * 20]),
    "uuid": (models.UUIDField, [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.uuid4()]),
    "boolean": (models.BooleanField, [True, False]),
    "smallint": (models.SmallIntegerField, [-(2**15), 0, 2**15 - 1]),
    "integer": (models.IntegerField, [-(2**31), 0, 2**31 - 1]),
    "bigint": (models.BigIntegerField, [-(2**63), -1, 2**63 - 1]),
    "numeric": (
        lambda **more: models.DecimalField(max_digits=40, decimal_places=10, **more),
        [Decimal("0.0000000000"), Decimal("-123456789012345678901234567890.0123456789"), Decimal("1E+5")],
    ),
    "text": (models.TextField, ["", "ß%s%%\\'\n\t", "\U0001f511" * 3000]),
    "varchar": (lambda **more: models.CharField(max_length=90, **more), ["", "None", "x" * 90]),
    "date": (models.DateField, [datetime.date.min, datetime.date(2024, 2, 29), datetime.date.max]),
    "time": (models.TimeField, [datetime.time.min, datetime.time(3, 4, 5, 6), datetime.time.max]),
    "double precision": (models.FloatField, [0.1, -0.0, 1e308, 5e-324, float("inf")]),
    "timestamp with time zone": (
        models.DateTimeField,
        [
            datetime.datetime(1, 1, 3, tzinfo=UTC),
            datetime.datetime(1900, 1, 1, 12, 30, 1, 999_999, tzinfo=UTC),
            datetime.datetime(2024, 11, 3, 6, 30, tzinfo=UTC),
            datetime.datetime(9999, 12, 29, tzinfo=UTC),
        ],
    ),
    "jsonb": (models.JSONField, [{}, [], "", 0, {"a": [1.5, None, "ß\\"], "b": {"c": True}}, 2**70]),
    "interval": (models.DurationField, [datetime.timedelta(0), datetime.timedelta(-3, 5, 7), datetime.timedelta(400)]),
}
NAMES = {f"c{at}": kind for at, kind in enumerate(VALUES)}
Wide = model(
    "Wide",
    id=lambda: models.UUIDField(primary_key=True, default=uuid.uuid4),
    number=models.IntegerField(default=0),
    secret=EncryptedField(models.TextField(null=True)),
    cmk_tenant_from=None,
    **{name: VALUES[kind][0](null=True) for name, kind in NAMES.items()},
)
Mixed = model(
    "Mixed",
    id=lambda: models.UUIDField(primary_key=True, default=uuid.uuid4),
    secret=EncryptedField(models.TextField()),
    secret_label=models.CharField(max_length=9, default="label"),
    where=models.GenericIPAddressField(default="10.1.2.3"),
)


@pytest.fixture
def postgres(matrix_databases: None, cmk_tsp: MemoryTsp) -> Iterator[str]:
    from encrypted_fields.tenancy import tenant

    with tenant("north"), atomic(using="postgres"):
        with connections["postgres"].schema_editor(atomic=False) as editor:
            for one in (Wide, Mixed):
                editor.create_model(one)
        yield "postgres"
        set_rollback(True, using="postgres")


class Forms:
    """The form of each statement's rows, as it came from the server."""

    def __init__(self) -> None:
        self.seen: list[Format] = []

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        found = execute(sql, params, many, context)
        result = context["cursor"].cursor.pgresult
        if result is not None and result.nfields:
            self.seen.append(Format(result.fformat(0)))
        return found


@pytest.fixture
def forms(postgres: str) -> Iterator[list[Format]]:
    forms = Forms()
    with connections[postgres].execute_wrapper(forms):
        yield forms.seen


def read() -> list[dict[str, Any]]:
    rows = Wide.objects.using("postgres").order_by("number")
    return [{name: getattr(row, name) for name in (*NAMES, "secret")} for row in rows]


def test_every_type_reads_alike(
    postgres: str, forms: list[Format], settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(VALUES) == ALIKE
    most = max(len(values) for _, values in VALUES.values())
    rows = [Wide(number=most)] + [
        Wide(number=at, secret=f"{at}", **{
            name: values[at] for name, kind in NAMES.items() if at < len(values := VALUES[kind][1])
        })
        for at in range(most)
    ]  # fmt: skip
    Wide.objects.using(postgres).bulk_create(rows)
    for zone in ("UTC", "America/Chicago"):
        for aware in (True, False):
            settings.TIME_ZONE, settings.USE_TZ = zone, aware
            forms.clear()
            in_binary = read()
            with monkeypatch.context() as patch:
                patch.setattr(reader, "read_alike", lambda *_: False)
                as_text = read()
            assert list(forms) == [Format.BINARY, Format.TEXT]
            assert repr(in_binary) == repr(as_text)
            assert [row["secret"] for row in in_binary] == [*map(str, range(most)), None]


def test_what_may_read_otherwise_is_left_to_django(postgres: str, forms: list[Format]) -> None:
    Mixed.objects.using(postgres).create(secret="s")
    rows = Mixed.objects.using(postgres)
    forms.clear()
    assert [(row.where, row.secret) for row in rows] == [("10.1.2.3", "s")]
    assert [row.size for row in rows.annotate(size=Length("secret_label")).defer("where")] == [5]
    assert rows.aggregate(Count("id")) == {"id__count": 1}
    assert rows.only("secret").explain()
    assert set(forms) == {Format.TEXT}
    assert rows.only("secret").get().secret == "s"
    assert set(forms) == {Format.TEXT}  # for so few another cursor costs what it saves
    assert [row.secret for row in rows.only("secret")] == ["s"]
    assert forms[-1] is Format.BINARY


def test_parameters_are_djangos(postgres: str, forms: list[Format]) -> None:
    label = "50%' \\ \" %s $1 {} ß"
    Row.objects.using(postgres).create(text="found", label=label)
    Row.objects.using(postgres).create(text="lost", label="other")
    forms.clear()
    rows = Row.objects.using(postgres)
    assert [row.text for row in rows.filter(label=label)] == ["found"]
    assert [row.text for row in rows.filter(label__contains="%' \\ \"")] == ["found"]
    assert [row.text for row in rows.filter(label__in=[label, "no"])] == ["found"]
    assert set(forms) == {Format.BINARY}


def test_a_statement_is_logged_once_and_fails_as_others_do(postgres: str) -> None:
    Row.objects.using(postgres).create(text="x")
    with CaptureQueriesContext(connections[postgres]) as queries:
        assert [row.text for row in Row.objects.using(postgres).filter(number=0)] == ["x"]
    (query,) = queries
    assert query["sql"].startswith("SELECT")
    assert '"number" = 0' in query["sql"]
    with pytest.raises(DataError), atomic(using=postgres):
        list(Row.objects.using(postgres).extra(where=["1 / (number * 0) = 1"]))
    assert Row.objects.using(postgres).get().text == "x"


def test_rows_come_in_pieces_too(postgres: str) -> None:
    Row.objects.using(postgres).bulk_create([Row(text=f"{n}", number=n) for n in range(2_500)])
    cursors: list[Any] = []

    def remember(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        cursors.append(context["cursor"])
        return execute(sql, params, many, context)

    with connections[postgres].execute_wrapper(remember):
        rows = Row.objects.using(postgres).order_by("number").iterator(chunk_size=300)
        found = [next(rows).text]
        assert Format(cursors[0].cursor.pgresult.fformat(0)) is Format.BINARY
        found += [row.text for row in rows]
    assert found == [f"{n}" for n in range(2_500)]


def test_another_statement_in_between_is_not_touched(postgres: str) -> None:
    """Instruments may ask the database for something before they let a statement pass."""
    Row.objects.using(postgres).create(text="x")
    seen: list[Any] = []

    def instrument(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not seen:
            seen.append(None)
            with connections[postgres].cursor() as cursor:
                cursor.execute("SELECT '10.0.0.1'::inet")
                seen.append(cursor.fetchone())
        return execute(sql, params, many, context)

    with connections[postgres].execute_wrapper(instrument):
        assert [row.text for row in Row.objects.using(postgres).all()] == ["x"]
    assert seen == [None, ("10.0.0.1",)]
