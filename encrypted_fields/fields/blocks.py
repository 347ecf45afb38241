"""What was read together and is opened together: the keys of up to 1,000 rows of one query, in one call.

A block keeps nothing alive: each row's values hold their part, a part its batch, and the way down is weak. So keys and
ciphertext go with the last value that nobody has looked at.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from itertools import chain

from django.db import models

from encrypted_fields.conf import BATCH
from encrypted_fields.core.errors import WITHDRAWN
from encrypted_fields.fields.binding import Binding
from encrypted_fields.fields.parts import Part, Place
from encrypted_fields.fields.relatives import with_relatives
from encrypted_fields.keys import permits, unwrapped

RECENT = 8  # blocks before this one, in the thread
_thread = threading.local()


class Batch:
    """The keys of up to 1,000 rows of one query, asked for at the first look. A key opens what its row has under it and
    goes; where that cannot be done ahead, it stays until somebody looks at its value."""

    __slots__ = ("__weakref__", "_parts")

    def __init__(self) -> None:
        self._parts: list[weakref.ref[Part]] = []
        _thread.recent = [*getattr(_thread, "recent", ())[-RECENT:], weakref.ref(self)]

    def add(self, part: Part) -> None:
        self._parts.append(weakref.ref(part))

    def parts(self) -> list[Part]:
        return [part for part in (ref() for ref in self._parts) if part is not None]

    def beside(self, *looked_at: models.Model) -> dict[Batch, None]:
        """The batches of rows that were loaded along with these."""
        rows = [*looked_at, *(row for part in self.parts() for row in part.first_rows())]
        parts = [
            value.part
            for row in with_relatives(rows, most=BATCH)
            for value in row.__dict__.values()
            if isinstance(value, Place)
        ]
        return {part.batch: None for part in parts}

    def related(self, instance: models.Model | None) -> list[Batch]:
        """The batches that one call opens together with this one: of rows that these lead to, and of rows that lead to
        these (a prefetched foreign key knows no way back)."""
        found = self.beside(*([] if instance is None else [instance]))
        for batch in [ref() for ref in getattr(_thread, "recent", ())]:
            if batch is not None and batch not in found and self in (more := batch.beside()):
                found |= more
        found.pop(self, None)
        return list(found)

    def ask(self, tenant: str, binding: Binding, others: Sequence[Batch] = ()) -> None:
        """Open the values of this tenant that wait, or put beside each its key, or the reason why there is none: those
        that may be opened along with one of `binding`, here and in `others`."""
        parts = [part for batch in (self, *others) for part in batch.parts()]
        labels = _together(tenant, binding, parts)
        found = [(part, part.waiting(tenant, binding.own_label, labels)) for part in parts]
        edeks = list(dict.fromkeys(chain.from_iterable(waiting.edeks for _, waiting in found)))
        try:
            with unwrapped(tenant, edeks, label=binding.label, labels=labels) as keys:
                for part, waiting in found:
                    part.take(tenant, waiting, keys)
        except WITHDRAWN as error:  # the whole request was refused: so is each key
            for part, waiting in found:
                part.take(tenant, waiting, dict.fromkeys(waiting.edeks, error))


def _together(tenant: str, binding: Binding, parts: Sequence[Part]) -> list[str]:
    """The labels that one call opens: that of `binding` first. Fields with a label of their own are asked for by
    themselves; the others of the rows come along, unless the policy refuses theirs, which whoever looks is told."""
    labels = {binding.label: None}
    if binding.own_label is None:
        for part in parts:
            for column in part.columns.values():
                label = column.binding.label
                if column.binding.own_label is None and label not in labels and permits(tenant, label):
                    labels[label] = None
    return list(labels)
