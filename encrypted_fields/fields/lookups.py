"""What may be asked of an encrypted column: only whether it is null."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import FieldError
from django.db.models.lookups import Exact, IsNull


class EncryptedIsNull(IsNull):
    """`field__isnull=True`: NULL is stored as NULL, so the database knows."""

    def process_lhs(self, compiler: Any, connection: Any, lhs: Any = None) -> Any:
        column = lhs or self.lhs
        if hasattr(column, "column_sql"):
            return column.column_sql(compiler, connection)
        return super().process_lhs(compiler, connection, lhs)


class NullOnly(Exact):
    """`field=None`, which Django turns into IS NULL. Any other value is refused before there is SQL."""

    def get_prep_lookup(self) -> Any:
        if self.rhs is None:
            return None
        raise unanswered(getattr(self.lhs, "target", None) or self.lhs.output_field, str(self.lookup_name))


def refused(field: Any) -> FieldError:
    return FieldError(
        f"{field.model._meta.label}.{field.name} is encrypted: a query can select it or ask whether it is null, "
        "not order, compare, group or compute with it. Declare an index, or read the value and do that in Python"
    )


def unanswered(field: Any, name: str) -> FieldError:
    """With the lookups that the field's indexes do answer, if it has some."""
    known = {one for column in field.index_columns if len(column.sources) == 1 for one in column.index.lookups}
    if not known:
        return refused(field)
    return FieldError(
        f"{field.model._meta.label}.{field.name} is encrypted: its index does not answer {name}, but "
        f"{', '.join(sorted(f'{field.name}__{one}' for one in known))}"
    )
