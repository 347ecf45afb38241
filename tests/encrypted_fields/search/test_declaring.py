"""Index columns in migrations, and wrong declarations that a check tells."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.core import checks
from django.db import connection, migrations, models
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.questioner import NonInteractiveMigrationQuestioner
from django.db.migrations.state import ModelState, ProjectState
from django.db.migrations.writer import MigrationWriter
from django.test.utils import isolate_apps

from encrypted_fields import EncryptedField
from encrypted_fields.search import By, Exact, Folded, IndexColumn, Last, Ordered, Prefix, Unique
from encrypted_fields.testing import MemoryTsp
from tests.sample_app.searchable import Customer, Order, PostIt


def changes(before: ProjectState, *kinds: Any) -> Any:
    state = ProjectState()
    for model in kinds:
        state.add_model(ModelState.from_model(model))
    return MigrationAutodetector(before, state, NonInteractiveMigrationQuestioner())._detect_changes()


def test_migrations_name_the_columns_and_are_stable() -> None:
    found = changes(ProjectState(), Customer, Order)
    text = "\n".join(MigrationWriter(one).as_string() for one in found["sample_app"])
    assert (
        "('email_exact_index', encrypted_fields.search.IndexColumn(['email'], encrypted_fields.search.Exact()))" in text
    )
    assert "encrypted_fields.search.By('digits', tests.sample_app.searchable.digits)" in text
    assert "('login_unique_index_next'," in text
    again = ProjectState()
    for migration in found["sample_app"]:
        namespace: dict[str, Any] = {}
        exec(compile(MigrationWriter(migration).as_string(), "migration.py", "exec"), namespace)
        for operation in namespace["Migration"].operations:
            operation.state_forwards("sample_app", again)
    assert changes(again, Customer, Order) == {}


@pytest.mark.django_db(transaction=True)
def test_models_inside_migrations_write_and_ask_indexes(cmk_tsp: MemoryTsp) -> None:
    note = EncryptedField(models.TextField(), tenant_from="tenant_id")
    create = migrations.CreateModel(
        "Hist",
        [
            ("id", models.UUIDField(primary_key=True, default=uuid.uuid4)),
            ("tenant_id", models.TextField()),
            ("note", note),
        ],
    )
    add = migrations.AddField("Hist", "note_exact_index", IndexColumn(["note"], Exact()))
    state = ProjectState()
    try:
        with connection.schema_editor() as editor:
            for operation in (create, add):
                before = state.clone()
                operation.state_forwards("clinic", state)
                operation.database_forwards("clinic", editor, before, state)
        hist = state.apps.get_model("clinic", "Hist")
        hist.objects.create(tenant_id="north", note="n")
        assert hist.objects.filter(tenant_id="north", note="n").count() == 1
        hist.objects.update(note="m")
        assert hist.objects.filter(tenant_id="north", note="m").count() == 1
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS clinic_hist")


def of(**members: Any) -> list[str]:
    with isolate_apps("tests.sample_app"):
        meta = type("Meta", (), {"app_label": "sample_app"})
        model = type("Checked", (models.Model,), {"__module__": __name__, "Meta": meta, **members})
        return sorted(one.id or "" for one in model.check() if str(one.id).startswith("encrypted_fields"))


def sealed(inner: Any, *index: Any, **options: Any) -> Any:
    return EncryptedField(inner, index=index, **options)


@pytest.mark.parametrize(
    ("members", "codes"),
    [
        (lambda: {"a": sealed(models.TextField(), Exact(), Folded(), Last(4), Prefix(3))}, []),
        (lambda: {"a": sealed(models.IntegerField(), Unique()), "b": sealed(models.BinaryField(), Exact())}, []),
        (lambda: {"a": sealed(models.TextField()), "i": IndexColumn(["b"], Exact())}, ["E030"]),
        (lambda: {"a": models.TextField(), "i": IndexColumn(["a"], Exact())}, ["E030"]),
        (lambda: {"a": sealed(models.JSONField(), Exact())}, ["E031"]),
        (
            lambda: {
                "a": sealed(models.TextField(), tenant_from="s"),
                "b": sealed(models.TextField(), tenant_from="t"),
                "s": models.TextField(),
                "t": models.TextField(),
                "i": IndexColumn(["a", "b"], Exact()),
            },
            ["E032"],
        ),
        (lambda: {"a": sealed(models.IntegerField(), Last(4))}, ["E033"]),
        (lambda: {"a": sealed(models.IntegerField(), Unique(folded=True))}, ["E033"]),
        (lambda: {"a": sealed(models.TextField(), Exact(), Unique())}, ["E034"]),
        (lambda: {"a": sealed(models.TextField(unique=True), Unique())}, ["E001"]),
        (lambda: {"a": sealed(models.DateField(), Ordered())}, ["W031"]),
        (lambda: {"a": sealed(models.TextField(), Ordered())}, ["E035"]),
        (lambda: {"a": sealed(models.DecimalField(max_digits=19, decimal_places=2), Ordered())}, ["E035"]),
        (
            lambda: {
                "a": sealed(models.IntegerField()),
                "b": sealed(models.IntegerField()),
                "i": IndexColumn(["a", "b"], Ordered()),
            },
            ["E035"],
        ),
    ],
)
def test_a_wrong_declaration_is_told_by_a_check(members: Any, codes: list[str]) -> None:
    assert of(**members()) == [f"encrypted_fields.{code}" for code in codes]


def test_the_sample_models_pass_their_checks() -> None:
    found = [one for model in (Customer, Order, PostIt) for one in model.check()]
    assert [one for one in found if one.level >= checks.WARNING] == []


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Exact(bits=3),
        lambda: Exact(bits=65),
        lambda: Last(0),
        lambda: Prefix(65),
        lambda: By("Upper", str),
        lambda: By("a__b", str),
        lambda: By("not a name", str),
    ],
)
def test_refuses_a_capability_that_cannot_be(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        wrong()


@pytest.mark.parametrize("wrong", [lambda: IndexColumn("name", Exact()), lambda: IndexColumn([], Exact()),
                                   lambda: IndexColumn(["name"], "exact")])  # type: ignore[arg-type]  # fmt: skip
def test_refuses_an_index_of_nothing(wrong: Any) -> None:
    with pytest.raises(TypeError):
        wrong()
