"""`manage.py rotate_index`: index columns that are missing or of an older secret are made anew. Restartable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.db import models, router

from encrypted_fields.moving.choice import Group, chosen_models
from encrypted_fields.moving.command import MovingCommand
from encrypted_fields.moving.indexes import of_tenant
from encrypted_fields.moving.table import Table
from encrypted_fields.moving.tally import Tally
from encrypted_fields.search.refresh import index_columns, refresh_indexes

_LOCKED = "access withdrawn"


class Command(MovingCommand):
    help = "Fills blind indexes: after one was added, and between the two steps of a rotation of tenant secrets."

    def chosen(self, options: dict[str, Any]) -> Iterator[Group]:
        for model in chosen_models(options["model"]):
            columns = index_columns(model)
            fields = [one for one in columns if not options["field"] or set(one.sources) & set(options["field"])]
            if options["model"] and not fields:
                raise ValueError(f"{model._meta.label} has no index of these fields")
            for using in options["database"] or ["default"]:
                if fields and router.allow_migrate_model(using, model):
                    yield Group(Table(model, using), fields)

    def job(self, group: Group, options: dict[str, Any]) -> Refresh:
        return Refresh(group, options["tenant"])


class Refresh:
    """Rows are counted, and not values: a row's indexes are written together."""

    def __init__(self, group: Group, tenant: str | None) -> None:
        self.model: type[models.Model] = group.table.model
        self.using, self.columns = group.table.using, group.fields
        self.rows = of_tenant(group.fields[0].binding, tenant)

    def pending(self) -> int:
        found: Any = self.model._base_manager.using(self.using)
        return int((found if self.rows is None else found.filter(self.rows)).count())

    def run(self, report: Callable[[int], None], *, dry_run: bool = False) -> Tally:
        tally = Tally()
        for step in refresh_indexes(
            self.model, using=self.using, columns=self.columns, rows=self.rows, dry_run=dry_run
        ):
            tally.found += step.written + step.raced + step.locked
            tally.written += 0 if dry_run else step.written
            # who wrote in between has written the index as well: raced rows are right
            if step.locked:
                tally.leave(_LOCKED, f"up to {step.last}", step.locked)
            report(step.seen)
        return tally
