"""`manage.py index_plan`: what each index gives away and how often it is wrong, from the rows that are there."""

from __future__ import annotations

import json
import math
from typing import Any

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS

from encrypted_fields.core.blind import FULL
from encrypted_fields.search.plan import Plan, fair_bits, false_positives, plan
from encrypted_fields.search.refresh import index_columns


class Command(BaseCommand):
    help = "Counts groups of equal index values and expected false positives for each declared index; asks for no key."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("model", nargs="*", metavar="APP.MODEL", help="all models if none is named")
        parser.add_argument("--database", default=DEFAULT_DB_ALIAS)
        parser.add_argument("--rows", type=int, help="plan for so many rows of the largest tenant instead")
        parser.add_argument("--json", action="store_true", help="the same as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["rows"] is not None and options["rows"] < 1:
            raise CommandError("--rows is at least 1")
        found = [
            plan(column, options["database"])
            for model in self._models(options["model"])
            for column in index_columns(model)
            if not column.slot
        ]
        facts = [_facts(one, options["rows"]) for one in found]
        if options["json"]:
            self.stdout.write(json.dumps(facts, indent=1))
            return
        for one in facts:
            self.stdout.write(f"{one['index']}: {one['rows']:,} rows of {one['tenants']:,} tenant secrets")
            for line in one["notes"]:
                self.stdout.write(f"    {line}")

    def _models(self, names: list[str]) -> list[Any]:
        try:
            return [apps.get_model(name) for name in names] or list(apps.get_models())
        except (LookupError, ValueError):
            raise CommandError("name models as app_label.Model") from None


def _facts(found: Plan, planned: int | None) -> dict[str, Any]:
    index, most = found.column.index, planned or found.most
    worst = max(found.secrets.values(), key=lambda one: one.rows, default=None)
    facts: dict[str, Any] = {
        "index": f"{found.column.model._meta.label}.{found.column.name}",
        "spec": index.spec,
        "rows": found.rows,
        "tenants": len(found.secrets),
        "missing": found.missing,
        "largest_tenant": most,
        "false_positives": false_positives(most, index.bits),
        "notes": [],
    }
    notes: list[str] = facts["notes"]
    if found.missing:
        notes.append(f"{found.missing:,} rows have no index value yet: searches do not find them")
    if worst is not None and planned is None:
        facts |= {"values": worst.values, "largest_group": worst.largest, "equal": worst.equal}
        notes.append(
            f"largest tenant: {worst.rows:,} rows with {worst.values:,} different index values; the most frequent one "
            f"has {worst.largest:,} rows; two rows drawn are seen to be equal with a chance of {worst.equal:.2g}"
        )
        if worst.rows > 1 and worst.values == 1:
            notes.append("all rows are alike: the index finds everything and tells nothing")
        elif worst.values <= 20 < worst.rows:
            notes.append("few values: who knows how often each occurs can name them. Cut it (bits=…) or leave it out")
    if "gt" in index.lookups:
        notes.append(
            f"shows the order of all values of a tenant, and with {most:,} rows about the highest "
            f"{math.ceil(math.log2(most)) if most > 1 else 0} bits of each"
        )
    elif index.bits < FULL:
        fair = fair_bits(most)
        notes.append(
            f"{index.bits} bits: a lookup finds about {facts['false_positives']:,.1f} rows by chance"
            + (f"; fair for {most:,} rows: {fair[0]} to {fair[1]} bits" if fair else "; too few rows to hide in")
        )
    else:
        notes.append("a lookup finds no row by chance; whoever reads the column sees which rows are equal")
    return facts
