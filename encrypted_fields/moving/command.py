"""What the commands of a move share: their options, their progress, and the exit code 1 when something is left."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS

from encrypted_fields import tenancy
from encrypted_fields.core.errors import CmkError
from encrypted_fields.moving.choice import Group, groups
from encrypted_fields.moving.progress import progress
from encrypted_fields.moving.tally import Tally

Job = Any  # has pending() and run(report, dry_run=)


class MovingCommand(BaseCommand):
    """A command that may be killed and started again at any time: it looks at what is there, and remembers nothing."""

    moving = True  # only fields that have a state
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--model", action="append", default=[], metavar="APP.MODEL", help="may be repeated")
        parser.add_argument("--field", action="append", default=[], metavar="NAME", help="of these models")
        parser.add_argument("--tenant", help="rows of this tenant only; needed where the tenant is no part of the row")
        parser.add_argument("--database", action="append", default=[], metavar="ALIAS", help="may be repeated")
        parser.add_argument("--dry-run", action="store_true", help="count, write nothing, ask for no key")
        parser.add_argument("--json", action="store_true", help="the outcome as JSON")

    def job(self, group: Group, options: dict[str, Any]) -> Job:
        raise NotImplementedError

    def handle(self, *args: Any, **options: Any) -> None:
        outcomes = []
        try:
            with self.acting(options):
                for group in self.chosen(options):
                    outcomes.append(self._run(group, options))
        except ValueError as error:
            raise CommandError(str(error)) from None
        except CmkError as error:
            raise CommandError(f"{type(error).__name__}: {error}. What is done is done; start it again") from None
        if options["json"]:
            self.stdout.write(json.dumps(outcomes, indent=1))
        left = sum(sum(one["left"].values()) + one["overtaken"] for one in outcomes)
        if left and not options["dry_run"]:
            raise CommandError(f"{left} values are left as they were; see above, then start it again")

    def chosen(self, options: dict[str, Any]) -> Iterator[Group]:
        databases = options["database"] or [DEFAULT_DB_ALIAS]
        return groups(databases, options["model"], options["field"], moving=self.moving)

    @contextmanager
    def acting(self, options: dict[str, Any]) -> Iterator[None]:
        """The tenant, and this command's name in the customer's audit trail."""
        name = self.__class__.__module__.rpartition(".")[2]
        with tenancy.acting(custom={"command": name}):
            if options["tenant"]:
                with tenancy.tenant(options["tenant"]):
                    yield
            else:
                yield

    def _run(self, group: Group, options: dict[str, Any]) -> dict[str, Any]:
        job, dry_run = self.job(group, options), options["dry_run"]
        with self._progress(group.title, job, options) as report:
            tally: Tally = job.run(report, dry_run=dry_run)
        if not options["json"]:
            self.stdout.write(f"{group.title}: {'would take' if dry_run else 'took'} {tally.found:,} values; "
                              f"{tally.written:,} written, {tally.calls:,} calls")  # fmt: skip
            for reason, count in tally.left.items():
                rows = ", ".join(tally.rows[reason])
                self.stdout.write(self.style.WARNING(f"  left: {count:,} values: {reason} (rows {rows})"))
            if tally.cleared:
                self.stdout.write(f"  {tally.cleared:,} files of killed runs removed")
            for name in tally.strays:
                said = f"  {name}: left by a killed run, unless another run is writing it; remove it if none is"
                self.stdout.write(self.style.WARNING(said))
            if tally.overtaken:
                self.stdout.write(self.style.WARNING(f"  left: {tally.overtaken:,} values: changed again and again"))
        label = group.table.model._meta.label
        about = {"model": label, "fields": [one.name for one in group.fields], "database": group.table.using}
        return {**about, **tally.as_dict()}

    @contextmanager
    def _progress(self, title: str, job: Job, options: dict[str, Any]) -> Iterator[Callable[[int], None]]:
        if options["json"] or options["verbosity"] == 0:
            yield lambda rows: None
        else:
            with progress(title, job.pending(), self.stdout) as report:
                yield report
