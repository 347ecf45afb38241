"""Tenant and facts travel with Celery tasks: signed into the message's headers, active while the task runs.

Switched on by CMK_CELERY = True, in the processes that publish and in the workers alike. The signature (SECRET_KEY) is
bound to the task's id and name, so that whoever can write to the broker cannot speak for a tenant or a person. It does
not cover the task's arguments, and a header that was taken away leaves a task without tenant and facts, as one that was
published elsewhere: docs/policy.md says what that means.
"""

from __future__ import annotations

from contextvars import Token
from dataclasses import asdict
from typing import Any

from celery import signals
from django.core import signing

from encrypted_fields.tenancy import Facts, _facts, _tenant

HEADER = "cmk"
_SALT = "encrypted_fields.celery"
_running: dict[str, tuple[Token[str | None], Token[Facts]]] = {}


def connect() -> None:
    """Listen to Celery's signals. May be called twice."""
    signals.before_task_publish.connect(_publish, weak=False, dispatch_uid=f"{_SALT}.publish")
    signals.task_prerun.connect(_start, weak=False, dispatch_uid=f"{_SALT}.start")
    signals.task_postrun.connect(_end, weak=False, dispatch_uid=f"{_SALT}.end")


def _publish(sender: str | None = None, headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is None:
        return
    said = {
        "tenant": _tenant.get(),
        "facts": asdict(_facts.get()),
        "task": headers.get("task"),
        "id": headers.get("id"),
    }
    headers[HEADER] = signing.dumps(said, salt=_SALT)


def _start(task_id: str = "", task: Any = None, **_: Any) -> None:
    request = task.request
    if request.is_eager:
        return  # it runs inside the caller, and inside the caller's block
    tenant, facts = _said(_header(request), task_id, task.name)
    _running[task_id] = _tenant.set(tenant), _facts.set(facts)


def _end(task_id: str = "", **_: Any) -> None:
    tokens = _running.pop(task_id, None)
    if tokens is not None:
        _tenant.reset(tokens[0])
        _facts.reset(tokens[1])


def _header(request: Any) -> Any:
    found = getattr(request, HEADER, None)
    return found if found is not None else (request.headers or {}).get(HEADER)


def _said(header: Any, task_id: str, name: str) -> tuple[str | None, Facts]:
    if header is None:
        return None, Facts()
    try:
        said = signing.loads(str(header), salt=_SALT)
        if (said["id"], said["task"]) == (task_id, name):
            return said["tenant"], Facts(**said["facts"])
    except (signing.BadSignature, KeyError, TypeError):
        pass
    # Celery logs what a signal's receiver raises and runs the task: so it runs without any key
    return None, Facts(broken="the tenant and facts of this task were not signed for it by this project")
