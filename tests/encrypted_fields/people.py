"""Patients for the tests of the ORM."""

from __future__ import annotations

import datetime
from typing import Any

from django.db import models

from encrypted_fields.core import envelope
from encrypted_fields.testing import stored_bytes
from tests.sample_app.models import Patient

BORN = datetime.date(1990, 5, 17)


def people(count: int, tenant_id: str = "north") -> list[Patient]:
    return Patient.objects.bulk_create(
        Patient(tenant_id=tenant_id, name=f"n{n:05}", diagnosis=f"d{n}", born=BORN, file_number=n) for n in range(count)
    )


def person(**values: Any) -> Patient:
    return Patient.objects.create(**{"tenant_id": "north", "name": "Ann", "diagnosis": "flu", "born": BORN, **values})


def edek(obj: models.Model, field: str) -> bytes:
    return envelope.parse(stored_bytes(obj, field) or b"").edek
