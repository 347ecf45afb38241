"""The column of an index: a field of the model like any other, never edited by hand, written with what it indexes."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, cast

from django.core.exceptions import FieldError
from django.db import models
from django.db.models.sql.compiler import SQLUpdateCompiler

from encrypted_fields.index_keys import Live, Secret
from encrypted_fields.search import checks
from encrypted_fields.search.capabilities import Capability
from encrypted_fields.search.lookups import answering, by_bytes

if TYPE_CHECKING:
    from encrypted_fields.fields.base import EncryptedField

    class _BinaryField(models.BinaryField[Any, Any]):
        pass
else:
    _BinaryField = models.BinaryField

NEXT: Final = "next"  # the second column of an index that a rotation must not weaken
_HISTORICAL = "__fake__"  # the module of the models inside migrations, which name all their columns themselves


class _Unset(enum.Enum):
    """What a new row has in an index column until it is saved."""

    UNSET = enum.auto()


UNSET: Final = _Unset.UNSET


class IndexColumn(_BinaryField):
    """`EncryptedField(index=[…])` makes one for each capability. Write it yourself for an index over several fields:

        name_born = IndexColumn(["name", "born"], Exact())     # filter(name_born=("Smith", date(1990, 5, 17)))

    `sources` are encrypted fields of the same model and the same tenant. A row where one of them is NULL has no value.
    """

    def __init__(self, sources: Sequence[str], index: Capability, *, slot: str = "", **options: Any) -> None:
        if isinstance(sources, str) or not sources:
            raise TypeError('an index names its fields: IndexColumn(["name"], Exact())')
        if not isinstance(index, Capability):
            raise TypeError(f"an index says what may be asked of it, such as Exact(), not {index!r}")
        self.sources, self.index, self.slot = list(sources), index, slot
        options |= {"null": True, "editable": False, "serialize": False, "blank": True}
        options |= {"unique": True} if index.unique else {"db_index": True}
        super().__init__(**options)

    def deconstruct(self) -> Any:
        name, _, _, options = super().deconstruct()
        for fixed in ("null", "editable", "serialize", "blank", "unique", "db_index", "max_length"):
            options.pop(fixed, None)
        if self.slot:
            options["slot"] = self.slot
        return name, "encrypted_fields.search.IndexColumn", [self.sources, self.index], options

    def contribute_to_class(self, cls: type[models.Model], name: str, private_only: bool = False) -> None:
        for cached in ("fields", "places"):
            self.__dict__.pop(cached, None)
        super().contribute_to_class(cls, name, private_only=private_only)
        if self.index.unique and not self.slot:
            add_column(cls, f"{name}_{NEXT}", IndexColumn(self.sources, self.index, slot=NEXT))

    def check(self, **kwargs: Any) -> list[Any]:
        return [*super().check(**kwargs), *checks.problems(self)]

    # --- what is indexed

    @cached_property
    def fields(self) -> list[EncryptedField[Any, Any]]:
        found: list[Any] = [self.model._meta.get_field(name) for name in self.sources]
        return found

    @cached_property
    def places(self) -> tuple[tuple[str, str], ...]:
        """Stable names of the fields, which the key is bound to: a rename of a column changes nothing."""
        return tuple((field.binding.model_id, field.binding.field_id) for field in self.fields)

    @property
    def binding(self) -> Any:
        """Whose key: as the fields'."""
        return self.fields[0].binding

    @property
    def label(self) -> str:
        """The data label of the first field, for the policy."""
        found: str = getattr(self.binding, "label", None) or self.binding.model_id
        return found

    @property
    def columns(self) -> list[IndexColumn]:
        """This column, and the second one of the same index."""
        if not self.index.unique:
            return [self]
        second: Any = self.model._meta.get_field(f"{self.name}_{NEXT}")
        return [self, second]

    def encode(self, values: Sequence[Any]) -> tuple[bytes, ...] | None:
        """What of each field's value is indexed; None when one of them is NULL."""
        return self.index.encode(self.fields, values)

    def stored(self, tenant: str, secret: Secret, values: Sequence[bytes]) -> bytes:
        return self.index.stored(secret.mac(tenant, self.places, self.index.spec), secret.number, values, self.fields)

    def secret(self, live: Live) -> Secret:
        """Which secret this column is written with."""
        if self.index.unique:
            return live.newest if self.slot else live.oldest
        return live.writing

    # --- the column

    def db_type(self, connection: Any) -> str:
        # MySQL indexes no BLOB without a length.
        if connection.vendor == "mysql":
            return f"varbinary({self.index.size(self.fields)})"
        return cast(str, super().db_type(connection))

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        from encrypted_fields.search.writing import OfRow

        return OfRow(self, model_instance)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        from encrypted_fields.search.writing import Along

        # Whatever was assigned, what is written follows from the values beside it. None is a migration's default.
        return value if value is None or hasattr(value, "as_sql") else Along(self)

    def get_placeholder(self, value: Any, compiler: Any, connection: Any) -> str:
        if value is None and isinstance(compiler, SQLUpdateCompiler):
            raise FieldError(f"{self.name} is an index: it is written with {', '.join(self.sources)}")
        return cast(str, connection.ops.binary_placeholder_sql(value))

    @cached_property
    def _get_default(self) -> Any:
        return lambda: UNSET

    def get_lookup(self, lookup_name: str) -> Any:
        """Of the column by its own name: values of all its fields; of stored bytes only whether they are the same."""
        if lookup_name == "isnull":
            return super().get_lookup(lookup_name)
        found = answering(self, lookup_name) if len(self.sources) > 1 else None
        if lookup_name == "exact":
            return by_bytes(found)
        if found is None:
            raise FieldError(
                f"{self.model._meta.label}.{self.name} is an index: ask {' and '.join(self.sources)} for "
                f"{', '.join(sorted(self.index.lookups))}"
            )
        return found

    def get_transform(self, lookup_name: str) -> Any:
        return None


def add_column(model: type[models.Model], name: str, column: IndexColumn) -> None:
    """Unless it is there: inherited, or named by a migration."""
    if model.__module__ != _HISTORICAL and not any(one.name == name for one in model._meta.local_fields):
        model.add_to_class(name, column)


def columns_of(field: models.Field[Any, Any]) -> list[IndexColumn]:
    """The columns that index an encrypted field, alone or with others."""
    return [one for one in field.model._meta.local_fields if isinstance(one, IndexColumn) and field.name in one.sources]
