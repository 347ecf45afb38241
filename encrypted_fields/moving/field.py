"""An `EncryptedField` whose values are on their way: it reads and writes both columns as its state says."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, TypeVar, cast

from django.core.exceptions import FieldError, ValidationError
from django.db import IntegrityError, models
from django.db.models.expressions import Col
from django.db.models.lookups import IsNull
from django.db.models.sql.where import AND, OR, WhereNode

from encrypted_fields.fields.base import EncryptedField
from encrypted_fields.fields.columns import EncryptedCol
from encrypted_fields.fields.lookups import EncryptedIsNull, refused
from encrypted_fields.fields.sealed import SealedAttribute
from encrypted_fields.fields.stored import Stored
from encrypted_fields.fields.writing import Pending
from encrypted_fields.moving import DUAL, ENCRYPTED, PLAINTEXT, STATES, PlaintextLeft
from encrypted_fields.moving.plaintext import PlaintextField
from encrypted_fields.moving.writing import Both
from encrypted_fields.search.lookups import answering

_ST = TypeVar("_ST")
_GT = TypeVar("_GT")


class MovingField(EncryptedField[_ST, _GT]):
    """Made by `EncryptedField(…, plaintext=…, state=…)`. The column is nullable while the move lasts."""

    state: str
    plaintext: str

    def __init__(self, base_field: models.Field[_ST, _GT], **options: Any) -> None:
        if options.get("state") not in STATES or not options.get("plaintext"):
            raise ValueError(
                f'a moving field needs plaintext="<its field in clear>" and a state of {", ".join(STATES)}'
            )
        timed = isinstance(base_field, models.DateField | models.TimeField)
        automatic = getattr(base_field, "auto_now", False) or getattr(base_field, "auto_now_add", False)
        if automatic or (not timed and type(base_field).pre_save is not models.Field.pre_save):
            raise TypeError(f"{type(base_field).__name__} changes its value when it is saved, so it cannot be moved")
        super().__init__(base_field, **options)
        self.null = True

    @cached_property
    def clear(self) -> PlaintextField:
        """The field in clear. FieldError when the model has none of that name."""
        found = self.model._meta.get_field(self.plaintext)
        if not isinstance(found, PlaintextField):
            raise FieldError(f"{self.model._meta.label}.{self.plaintext} is not a PlaintextField")
        return found

    def contribute_to_class(self, cls: type[models.Model], name: str, **kwargs: Any) -> None:  # type: ignore[override]
        self.__dict__.pop("clear", None)
        super().contribute_to_class(cls, name, **kwargs)
        if self.column:
            setattr(cls, self.attname, _Attribute(self))

    def check(self, **kwargs: Any) -> list[Any]:
        from encrypted_fields.moving.checks import problems

        return [*super().check(**kwargs), *problems(self)]

    # --- the inner field may be required, although the column is not yet

    def validate(self, value: Any, model_instance: models.Model | None) -> None:
        if value is None and not self.inner.null:
            raise ValidationError(self.error_messages["null"], code="null")
        super().validate(value, model_instance)

    def formfield(self, **kwargs: Any) -> Any:
        found: Any = super().formfield(**kwargs)
        if not self.inner.null and hasattr(found, "empty_value") and found.empty_value is None:
            found.empty_value = ""
        return found

    # --- reading

    def get_col(self, alias: Any, output_field: Any = None) -> Any:
        if self.state == PLAINTEXT:
            return _ClearCol(alias, self, self.clear.base)
        return super().get_col(alias, output_field)

    def beside(self, stored: Sequence[Any], clear: Sequence[Any]) -> list[Any]:
        """The values of a block of rows: what the encrypted column gave, else what lies in clear, where that counts."""
        if self.state == ENCRYPTED:
            if any(one is None and other is not None for one, other in zip(stored, clear, strict=True)):
                raise self.left()
            return list(stored)
        return [other if one is None else one for one, other in zip(stored, clear, strict=True)]

    def left(self) -> PlaintextLeft:
        return PlaintextLeft(
            f"{self.model._meta.label}.{self.name} says state={ENCRYPTED!r}, and a row has it in clear only: "
            "run manage.py encrypt_existing"
        )

    def get_lookup(self, lookup_name: str) -> Any:
        if self.state == PLAINTEXT:
            return self.clear.get_lookup(lookup_name)
        if lookup_name == "isnull":
            return BothNull
        if self.state == ENCRYPTED:
            return super().get_lookup(lookup_name)
        single = [column for column in self.index_columns if len(column.sources) == 1]
        answer = next(filter(None, (answering(column, lookup_name) for column in single)), None)
        if answer is None and self.state != DUAL:
            return super().get_lookup(lookup_name)
        found = self.clear.get_lookup(lookup_name)
        if found is None:
            return None
        if answer is None:
            return lambda lhs, rhs: found(self._in_clear(lhs), rhs)
        return lambda lhs, rhs: Either.of(found(self._in_clear(lhs), rhs), answer(lhs, rhs), lookup_name)

    def get_transform(self, lookup_name: str) -> Any:
        if self.state not in (PLAINTEXT, DUAL):
            return super().get_transform(lookup_name)
        found = self.clear.get_transform(lookup_name)
        if found is None or self.state == PLAINTEXT:
            return found
        return lambda lhs, *args, **kwargs: found(self._in_clear(lhs), *args, **kwargs)

    def _in_clear(self, column: Any) -> Col:
        return self.clear.get_col(column.alias) if isinstance(column, EncryptedCol) else column

    # --- writing

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        if self.state == PLAINTEXT:
            value = model_instance.__dict__.get(self.attname)
            if isinstance(value, Stored):
                raise ValueError(f"{self.name} has no ciphertext yet: state={PLAINTEXT!r}")
        else:
            value = super().pre_save(model_instance, add)
        if value is None and not self.inner.null:
            raise IntegrityError(f"{self.model._meta.label}.{self.name} is required")
        return Both(self, model_instance, value)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        return value if isinstance(value, Both) else Both(self, None, value)

    def sealed_form(self, value: Any, connection: Any) -> Any:
        """What goes into the encrypted column: None, bytes, or something that has `as_sql`."""
        if self.state == PLAINTEXT:
            return None
        return super().get_db_prep_save(value, connection) if not isinstance(value, Pending) else value

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if self.state == PLAINTEXT:
            return self.clear.get_db_prep_value(value, connection, prepared)
        raise refused(self)


class _Attribute(SealedAttribute):
    """raw() hands over single columns: there the value in clear is found when somebody looks."""

    def __get__(self, instance: models.Model | None, cls: Any = None) -> Any:
        value = super().__get__(instance, cls)
        if value is None and instance is not None:
            value = instance.__dict__.get(self.field.clear.attname)
            if value is not None and self.field.state == ENCRYPTED:
                raise self.field.left()
        return value

    def __set__(self, instance: models.Model, value: Any) -> None:
        super().__set__(instance, value)
        if value is None and not instance._state.adding:  # a row that was read is set to nothing
            instance.__dict__[self.field.clear.attname] = None


class _ClearCol(Col):
    """A moving field as a query sees it before there is ciphertext: the column in clear."""

    alias: Any
    target: Any

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        names = [name for name in (self.alias, self.target.clear.column) if name]
        return ".".join(compiler.quote_name_unless_alias(name) for name in names), []


class Either(WhereNode):
    """A lookup of a moving field with an index: rows that lie in clear, or rows that the index finds."""

    lookup_name: str
    rhs: Any
    can_use_none_as_rhs = False

    @classmethod
    def of(cls, clear: Any, index: Any, name: str) -> Either:
        # each side says no, and not NULL, of rows that are on the other
        sides: list[Any] = [WhereNode(cast(Any, [IsNull(one.lhs, False), one]), AND) for one in (clear, index)]
        found = cls(sides, OR)
        found.lookup_name, found.rhs = name, clear.rhs
        return found


class BothNull(EncryptedIsNull):
    """A moving value is NULL when both of its columns are."""

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        if not isinstance(self.lhs, EncryptedCol):
            return super().as_sql(compiler, connection)
        sql, params = self.process_lhs(compiler, connection)
        clear, more = compiler.compile(self.lhs.target.clear.get_col(self.lhs.alias))
        both = f"({sql} IS NULL AND {clear} IS NULL)" if self.rhs else f"({sql} IS NOT NULL OR {clear} IS NOT NULL)"
        return both, [*params, *more]
