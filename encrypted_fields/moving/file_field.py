"""An `EncryptedFileField` whose files are on their way: it reads and writes both names as its state says."""

from __future__ import annotations

from functools import cache, cached_property
from typing import Any

from django.core.exceptions import FieldError
from django.db import models
from django.db.models.expressions import Col
from django.db.models.sql.compiler import SQLUpdateCompiler

from encrypted_fields.fields.file import EncryptedFileDescriptor, EncryptedFileField
from encrypted_fields.fields.image import EncryptedImageDescriptor, EncryptedImageField, EncryptedImageFieldFile
from encrypted_fields.moving import PLAINTEXT, STATES
from encrypted_fields.moving.fieldfile import MovingFieldFile
from encrypted_fields.moving.plain_file import PlaintextFileField
from encrypted_fields.moving.replaced import remove_replaced


class _Emptied(EncryptedFileDescriptor):
    """A row that was read is set to nothing: neither file counts any more."""

    def __set__(self, instance: Any, value: Any) -> None:
        super().__set__(instance, value)
        if not value and not instance._state.adding:
            instance.__dict__[self.field.clear.attname] = None


class _EmptiedImage(_Emptied, EncryptedImageDescriptor):
    """And measured when it is assigned."""


class MovingFileField(EncryptedFileField):
    """Made by `EncryptedFileField(…, plaintext=…, state=…)`. Its column is a second one, nullable while the move lasts;
    where it names no sealed file, the plain one counts."""

    attr_class = MovingFieldFile
    descriptor_class = _Emptied
    state: str
    plaintext: str

    def __init__(self, *args: Any, **options: Any) -> None:
        if options.get("state") not in STATES or not options.get("plaintext"):
            raise ValueError(
                f'a moving field needs plaintext="<its field in clear>" and a state of {", ".join(STATES)}'
            )
        super().__init__(*args, **options)
        self.null = True

    @cached_property
    def clear(self) -> PlaintextFileField:
        """The field that names files in clear. FieldError when the model has none of that name."""
        found = self.model._meta.get_field(self.plaintext)
        if not isinstance(found, PlaintextFileField):
            raise FieldError(f"{self.model._meta.label}.{self.plaintext} is no PlaintextField of a FileField")
        return found

    def contribute_to_class(self, cls: type[models.Model], name: str, *args: Any, **kwargs: Any) -> None:
        self.__dict__.pop("clear", None)
        super().contribute_to_class(cls, name, *args, **kwargs)
        if not cls._meta.abstract and cls.__module__ != "__fake__":
            remove_replaced(cls, self)

    def check(self, **kwargs: Any) -> list[Any]:
        from encrypted_fields.moving.checks import problems

        return [*super().check(**kwargs), *problems(self)]

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        image = isinstance(self, EncryptedImageField)
        return name, f"encrypted_fields.Encrypted{'Image' if image else 'File'}Field", args, kwargs

    # --- reading: the name of the file that counts; what it names is told by the other column

    def get_col(self, alias: Any, output_field: Any = None) -> Col:
        return _NameCol(alias, self, output_field)

    # --- writing

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        return self.names(model_instance, add, self)

    def names(self, instance: models.Model, add: bool, column: Any) -> Names:
        """What goes into `column`, this one or the one in clear. A new file is stored first."""
        file: Any = getattr(instance, self.attname)
        super().pre_save(instance, add)
        return Names(self, file, column, keep=not add and bool(file) and file.unchanged)

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        if isinstance(value, Names):
            return value
        if value is None or str(value) == "":
            return Names(self, None, self, keep=False)
        raise FieldError(
            f"{self.name} is moving: a name alone does not say whether its file is sealed. Assign the file to the "
            "row and save() it"
        )


class MovingImageFieldFile(EncryptedImageFieldFile, MovingFieldFile):
    """Measured as a picture, stored as its state says."""


class MovingImageField(MovingFileField, EncryptedImageField):
    """Made by `EncryptedImageField(…, plaintext=…, state=…)`."""

    attr_class = MovingImageFieldFile
    descriptor_class = _EmptiedImage


class Names:
    """The value of one of the two columns. In an UPDATE that does not name the other one, it sets that as well.

    `keep`: nobody gave this row another file, so both columns stay as they are (fields/unchanged.py).
    """

    __slots__ = ("column", "field", "file", "keep")

    def __init__(self, field: MovingFileField, file: Any, column: Any, *, keep: bool) -> None:
        self.field, self.file, self.column, self.keep = field, file, column, keep

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, list[Any]]:
        field, query = self.field, compiler.query
        update = isinstance(compiler, SQLUpdateCompiler)
        keep = update and self.keep and self.file.instance._state.db == connection.alias
        sql, params = self._one(self.column, keep, connection)
        if not update:
            updated = set(getattr(query, "update_fields", None) or ())
            if (field in updated) is not (field.clear in updated):
                raise ValueError(
                    f"bulk_create(update_conflicts=True) updates both columns of {field.name} or none: name "
                    f"{field.plaintext!r} as well"
                )
            return sql, params
        other = field.clear if self.column is field else field
        if any(one is other for one, _, _ in query.values):
            return sql, params
        clear, more = self._one(other, keep, connection)
        return f"{sql}, {connection.ops.quote_name(other.column)} = {clear}", [*params, *more]

    def _one(self, column: Any, keep: bool, connection: Any) -> tuple[str, list[Any]]:
        if keep:
            return connection.ops.quote_name(column.column), []
        sealed, clear = (None, None) if self.file is None else self.file.pair
        return "%s", [sealed if column is self.field else clear]

    def __repr__(self) -> str:
        return f"<the names of {self.field.name}; its column is added by encrypted_fields.operations.EncryptField>"


class _NameCol(Col):
    """The sealed file's name, else the one in clear."""

    alias: Any
    target: Any

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        field = self.target
        columns = [field.clear] if field.state == PLAINTEXT else [field, field.clear]
        names = [
            ".".join(compiler.quote_name_unless_alias(part) for part in (self.alias, one.column) if part)
            for one in columns
        ]
        return names[0] if len(names) == 1 else f"COALESCE(NULLIF({names[0]}, ''), {names[1]})", []


@cache
def class_for(base: type[EncryptedFileField]) -> type[MovingFileField]:
    if issubclass(base, MovingFileField):
        return base
    if base is EncryptedFileField:
        return MovingFileField
    if base is EncryptedImageField:
        return MovingImageField
    raise TypeError(f"{base.__name__} cannot be moved: plaintext= and state= are for EncryptedFileField")
