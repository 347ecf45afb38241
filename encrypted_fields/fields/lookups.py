"""What may be asked of an encrypted column: only whether it is null."""

from __future__ import annotations

from typing import Any

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
        from encrypted_fields.fields.columns import refused

        raise refused(getattr(self.lhs, "target", None) or self.lhs.output_field)
