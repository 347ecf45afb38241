"""What the admin or a model would ask of an encrypted column is told by `manage.py check`, before it fails."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.core.exceptions import FieldError
from django.db import connection, models
from django.db.models.functions import Length, Upper
from django.test.utils import isolate_apps

from encrypted_fields import EncryptedField
from encrypted_fields.query_checks import admin_problems, check_admin, check_models, model_problems
from tests.sample_app.models import Patient, Visit


def of_admin(model: Any, **options: Any) -> list[str]:
    made = type("Checked", (admin.ModelAdmin,), options)(model, admin.AdminSite())
    return [problem.id for problem in admin_problems(model, made)]


class Own(admin.FieldListFilter):
    """The project's own filter: what it asks is its own affair."""


@pytest.mark.parametrize(
    ("model", "options", "codes"),
    [
        (Patient, {}, []),
        (Patient, {"search_fields": ["name", "=name", "id"]}, []),
        (Patient, {"search_fields": ["diagnosis"]}, ["E014"]),
        (Patient, {"search_fields": ["name", "^diagnosis", "=diagnosis", "@diagnosis"]}, ["E014"] * 3),
        (Patient, {"search_fields": ["diagnosis__exact"]}, ["E014"]),
        (Patient, {"search_fields": ["visits__report"]}, ["E014"]),
        (Patient, {"search_fields": ["diagnosis__isnull"]}, []),
        (Visit, {"search_fields": ["patient__diagnosis"]}, ["E014"]),
        (Patient, {"list_filter": ["name", "diagnosis"]}, ["E015"]),
        (Patient, {"list_filter": [("born", admin.DateFieldListFilter)]}, ["E015"]),
        (Visit, {"list_filter": ["patient__born"]}, ["E015"]),
        (Patient, {"list_filter": [("diagnosis", admin.EmptyFieldListFilter)]}, []),
        (Patient, {"list_filter": [("diagnosis", Own)]}, []),
        (Patient, {"ordering": ["-diagnosis", "name"]}, ["E016"]),
        (Patient, {"ordering": [models.F("diagnosis").asc()]}, ["E016"]),
        (Visit, {"ordering": ["patient__name"]}, []),
        (Visit, {"ordering": ["patient__diagnosis"]}, ["E016"]),
        (Patient, {"date_hierarchy": "born"}, ["E017"]),
        (Patient, {"list_display": ["name", "diagnosis"]}, ["W014"]),
        (Patient, {"list_display": ["name", "diagnosis"], "sortable_by": ["name"]}, []),
        (Patient, {"list_display": ["name", "masked"], "masked": lambda self, obj: "…"}, []),
    ],
)
def test_an_admin_that_would_ask_ciphertext_is_told(model: Any, options: dict[str, Any], codes: list[str]) -> None:
    assert of_admin(model, **options) == [f"encrypted_fields.{code}" for code in codes]


def made(**attributes: Any) -> Any:
    meta = {"app_label": "sample_app", **attributes.pop("Meta", {})}
    secret = {"secret": EncryptedField(models.TextField()), "name": models.TextField()}
    return type(
        "Checked",
        (models.Model,),
        {"__module__": __name__, "Meta": type("Meta", (), meta), **secret, **attributes},
    )


def generated(expression: Any) -> dict[str, Any]:
    return {"size": models.GeneratedField(expression=expression, output_field=models.IntegerField(), db_persist=True)}


@pytest.mark.parametrize(
    ("attributes", "codes"),
    [
        (lambda: {}, []),
        (lambda: {"other": models.ForeignKey(Patient, models.CASCADE), "Meta": {"ordering": ["other__name"]}}, []),
        (
            lambda: {"other": models.ForeignKey(Patient, models.CASCADE), "Meta": {"ordering": ["-other__diagnosis"]}},
            ["E018"],
        ),
        (lambda: generated(Length("name")), []),
        (lambda: generated(Length("secret")), ["E019"]),
        (lambda: generated(models.Case(models.When(secret="x", then=1), default=2)), ["E019"]),
        (lambda: {"Meta": {"constraints": [check(secret__isnull=False)]}}, []),
        (lambda: {"Meta": {"constraints": [check(secret="x")]}}, ["E020"]),
        (lambda: {"Meta": {"constraints": [check(name=models.F("secret"))]}}, ["E020"]),
        (lambda: {"Meta": {"indexes": [models.Index("name", name="n", condition=models.Q(secret="x"))]}}, ["E020"]),
        (lambda: {"word": models.TextField(unique_for_date="secret")}, ["E021"]),
    ],
)
def test_a_model_that_would_ask_ciphertext_is_told(attributes: Any, codes: list[str]) -> None:
    with isolate_apps("tests.sample_app"):
        assert [problem.id for problem in model_problems(made(**attributes()))] == [
            f"encrypted_fields.{code}" for code in codes
        ]


def check(**condition: Any) -> models.CheckConstraint:
    return models.CheckConstraint(condition=models.Q(**condition), name="one")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("attributes", "sql"),
    [
        (lambda: generated(Length("secret")), lambda model, editor: editor.table_sql(model)),
        (
            lambda: {"Meta": {"constraints": [models.CheckConstraint(condition=models.Q(Long("secret")), name="one")]}},
            lambda model, editor: editor.table_sql(model),
        ),
        (
            lambda: {"secret": EncryptedField(models.TextField(db_default="canary"))},
            lambda model, editor: editor.table_sql(model),
        ),
        (
            lambda: {"secret": EncryptedField(models.TextField(db_default=Upper(models.Value("canary"))))},
            lambda model, editor: editor.table_sql(model),
        ),
        (
            lambda: {"Meta": {"indexes": [models.Index(Upper("secret"), name="one")]}},
            lambda model, editor: str(model._meta.indexes[0].create_sql(model, editor)),
        ),
        (
            lambda: {"Meta": {"constraints": [models.UniqueConstraint(Upper("secret"), name="one")]}},
            lambda model, editor: str(model._meta.constraints[0].create_sql(model, editor)),
        ),
    ],
    ids=["generated", "check", "default", "computed default", "index", "unique"],
)
def test_a_schema_that_would_compute_with_ciphertext_is_refused(attributes: Any, sql: Any) -> None:
    """Also where nobody looked at the checks."""
    with isolate_apps("tests.sample_app"), connection.schema_editor(collect_sql=True) as editor:
        model = made(**attributes())
        with pytest.raises(FieldError, match="secret is encrypted"):
            sql(model, editor)


class Long(models.Func):
    """A condition of its own."""

    function = "LENGTH"
    output_field = models.BooleanField()


def test_the_models_and_admins_of_the_project_pass() -> None:
    assert check_models() == check_admin() == []
