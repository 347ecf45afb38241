"""Celery tasks of a move, for those who run it from workers: each may be killed and delivered again.

    from encrypted_fields.moving import tasks
    tasks.encrypt_existing.delay("clinic.Patient", tenant="north")

Imports Celery; nothing here imports this module. A task goes through its whole table, so give it a queue without a
short time limit, or one call a tenant. It returns what the command prints with --json.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery import shared_task

from encrypted_fields import tenancy
from encrypted_fields.moving import jobs
from encrypted_fields.moving.choice import Group, groups
from encrypted_fields.moving.status import status


@shared_task(name="encrypted_fields.encrypt_existing", acks_late=True)
def encrypt_existing(
    model: str, field: str | None = None, tenant: str | None = None, using: str = "default", verify: bool = False
) -> list[dict[str, Any]]:
    return _each(
        "encrypt_existing", model, field, tenant, using, True,
        lambda group: jobs.encryption(group, tenant, verify=verify),
    )  # fmt: skip


@shared_task(name="encrypted_fields.decrypt_existing", acks_late=True)
def decrypt_existing(
    model: str, field: str | None = None, tenant: str | None = None, using: str = "default"
) -> list[dict[str, Any]]:
    return _each(
        "decrypt_existing", model, field, tenant, using, True,
        lambda group: jobs.decryption(group, tenant),
    )  # fmt: skip


@shared_task(name="encrypted_fields.rekey", acks_late=True)
def rekey(
    model: str,
    field: str | None = None,
    tenant: str | None = None,
    using: str = "default",
    every: bool = False,
    one_by_one: bool = False,
) -> list[dict[str, Any]]:
    return _each(
        "rekey", model, field, tenant, using, False,
        lambda group: jobs.rekeying(group, tenant, every=every, one_by_one=one_by_one),
    )  # fmt: skip


@shared_task(name="encrypted_fields.encryption_status")
def encryption_status(model: str, field: str | None = None, using: str = "default") -> list[dict[str, Any]]:
    found = groups([using], [model], [field] if field else [], moving=False)
    return [status(group.table, one).as_dict() for group in found for one in group.fields]


def _each(
    name: str,
    model: str,
    field: str | None,
    tenant: str | None,
    using: str,
    moving: bool,
    job: Callable[[Group], Any],
) -> list[dict[str, Any]]:
    def run() -> list[dict[str, Any]]:
        found = groups([using], [model], [field] if field else [], moving=moving)
        return [job(group).run().as_dict() for group in found]

    with tenancy.acting(custom={"command": name}):
        if tenant is None:
            return run()
        with tenancy.tenant(tenant):
            return run()
