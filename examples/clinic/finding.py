"""Search and order over encrypted columns: the indexes find candidates, what is finer is done on the opened rows."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from encrypted_fields import Locked, decrypted
from encrypted_fields.search import sorted_by
from examples.clinic.models import Patient

MOST = 500  # rows that a page opens at most


def find(patients: QuerySet[Patient], asked: str, order: str) -> list[Patient]:
    """Those whose name is or begins with `asked` (three letters or more), whose phone number ends with it (four digits
    or more), or whose reference it is; all when nothing is asked. Names and birth dates come opened."""
    found = patients
    if asked:
        wanted = Q(reference__iexact=asked) | Q(name__iexact=asked)
        if len(asked) >= 3:
            wanted |= Q(name__prefix3=asked)
        if len(digits := "".join(filter(str.isdigit, asked))) >= 4:
            wanted |= Q(phone__last4=digits)
        found = patients.filter(wanted)
    if order in ("name", "born"):
        rows = sorted_by(found, order, limit=MOST)
    else:
        with decrypted(found[:MOST], "name", "born") as opened:
            rows = opened
    return [row for row in rows if _fits(row, asked)]


def _fits(row: Patient, asked: str) -> bool:
    """The index of beginnings knows three letters; the rest is compared here, unless the name is locked."""
    begins = str(row.name).casefold().startswith(asked.casefold())
    return (
        isinstance(row.name, Locked)
        or begins
        or row.reference.casefold() == asked.casefold()
        or any(map(str.isdigit, asked))
    )
