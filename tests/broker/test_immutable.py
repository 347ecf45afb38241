"""Versions and the trail are written once, whichever way somebody tries."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, models, transaction

from broker.models import Config, ConfigVersion, TenantSecret, Trail
from broker.models.immutable import ImmutableError
from tests.broker.factories import publish, secret

pytestmark = pytest.mark.django_db


@pytest.fixture(params=[ConfigVersion, TenantSecret, Trail])
def row(request: pytest.FixtureRequest, config: Config) -> models.Model:
    publish(config)
    secret(config)
    model: type[models.Model] = request.param
    return model._default_manager.first()  # type: ignore[return-value]


def test_a_row_cannot_be_saved_again(row: models.Model) -> None:
    for save in (row.save, lambda: row.save(update_fields=["created"]), lambda: row.save(force_update=True)):
        with pytest.raises(ImmutableError):
            save()


def test_a_row_cannot_be_deleted(row: models.Model) -> None:
    with pytest.raises(ImmutableError):
        row.delete()


def test_a_queryset_can_neither_change_nor_delete(row: models.Model) -> None:
    rows = type(row)._default_manager.all()
    with pytest.raises(ImmutableError):
        rows.update(pk=row.pk)
    with pytest.raises(ImmutableError):
        rows.delete()
    with pytest.raises(ImmutableError):
        rows.bulk_update([row], [row._meta.concrete_fields[1].name])


def test_a_copy_under_an_old_id_is_refused(row: models.Model) -> None:
    copy = type(row)(**{field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields})
    with pytest.raises(IntegrityError), transaction.atomic():
        copy.save()


def test_what_has_versions_or_a_trail_cannot_be_deleted(config: Config) -> None:
    publish(config)
    for thing in (config, config.tenant, config.tenant.vendor):
        with pytest.raises(models.ProtectedError):
            thing.delete()


def test_the_database_itself_refuses_a_second_version(config: Config) -> None:
    """Whatever a future service forgets."""
    made = publish(config)
    twin = {"config": config, "boxes": {}, "hash": "0" * 64}
    for wrong in (
        {"version": 1, "previous": "", "sequence": 99},
        {"version": 2, "previous": made.hash, "sequence": made.sequence},
        {"version": 2, "previous": "", "sequence": 99},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            ConfigVersion.objects.create(**twin, **wrong)
