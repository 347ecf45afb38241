"""`EncryptedField(models.DateField())`: any Django field, stored as ciphertext under the tenant's key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, cast, get_args

from django.core.exceptions import FieldError
from django.db import models
from django.db.models.fields.related import RelatedField

from encrypted_fields.fields.adopting import warnings
from encrypted_fields.fields.binding import Binding, vars_of
from encrypted_fields.fields.checks import problems
from encrypted_fields.fields.codecs import FieldCodec
from encrypted_fields.fields.columns import EncryptedCol
from encrypted_fields.fields.lookups import EncryptedIsNull, NullOnly, refused, unanswered
from encrypted_fields.fields.sealed import Locked, Sealed, SealedAttribute
from encrypted_fields.fields.statements import install
from encrypted_fields.fields.stored import Stored
from encrypted_fields.fields.writing import Pending, Rewritten, Unplaced, value_to_seal
from encrypted_fields.fixtures import loaded
from encrypted_fields.search.capabilities import Capability
from encrypted_fields.search.column import IndexColumn, add_column, columns_of
from encrypted_fields.search.lookups import answering
from encrypted_fields.search.serializers import Once
from encrypted_fields.search.uniqueness import install as install_uniqueness
from encrypted_fields.search.writing import Kept

OnLocked = Literal["sentinel", "raise", "omit"]
ON_LOCKED: tuple[str, ...] = get_args(OnLocked)
_ST = TypeVar("_ST")
_GT = TypeVar("_GT")
_REFUSED = (RelatedField, models.AutoField, models.FileField, models.GeneratedField, models.CompositePrimaryKey)


if TYPE_CHECKING:

    class _Field(models.Field[_ST, _GT]):
        pass
else:

    class _Field(models.Field):
        __class_getitem__ = classmethod(lambda cls, _: cls)


class EncryptedField(_Field[_ST, _GT]):
    """Forms, validators, choices, max_length and defaults are those of `base_field`; the column holds bytes.

    `tenant_from`: whose key. An attribute of the row ("tenant_id", "clinic__tenant"), or a function of the row. Without
    it: `cmk_tenant_from` of the model, the setting CMK_TENANT_FROM, the active tenant.
    `field_id`, `model_id`: names that the ciphertext is bound to; set them to the old names when you rename.
    `bind_row`: bind the value to its row's primary key. By default it is, when that key is made in Python.
    `plaintext`, `state`: the field that holds the values in clear while they move, and how far they are: docs/moving.md
    `label`: the data label that the customer's trail and the policy see, "health" for one. Fields with labels of their
    own have keys of their own. Without it: the model's name.
    `on_locked`: what a look finds after the customer withdrew access: "sentinel", a Locked; "raise", the refusal;
    "omit", a Locked that forms, serializers and OmitLocked querysets leave out.
    `index`: what may be asked of it, such as `[Exact(), Last(4)]` (encrypted_fields.search), each in its own column.
    """

    descriptor_class = SealedAttribute
    cmk_encrypted = True
    # Read by the schema editor only (`_get_default` asks the inner field): an empty text is no default for ciphertext.
    empty_strings_allowed = False
    non_db_attrs = (
        *models.Field.non_db_attrs,
        "field_id",
        "model_id",
        "tenant_from",
        "bind_row",
        "inner",
        "plaintext",
        "state",
        "label",
        "on_locked",
    )

    def __new__(cls, base_field: models.Field[_ST, _GT], *_: Any, **options: Any) -> Self:
        if not isinstance(base_field, models.Field) or isinstance(base_field, (*_REFUSED, EncryptedField)):
            raise TypeError(f"EncryptedField wraps a plain field such as models.TextField(), not {base_field!r}")
        moving = (options.get("plaintext"), options.get("state")) != (None, None)
        return cast(Self, super().__new__(_class_for(cast(Any, type(base_field)), moving)))

    def __init__(
        self,
        base_field: models.Field[_ST, _GT],
        *,
        field_id: str | None = None,
        model_id: str | None = None,
        tenant_from: str | Callable[[Any], object] | None = None,
        bind_row: bool | None = None,
        plaintext: str | None = None,
        state: str | None = None,
        label: str | None = None,
        on_locked: OnLocked = "sentinel",
        index: Sequence[Capability] = (),
    ) -> None:
        if on_locked not in ON_LOCKED:
            raise ValueError(f"on_locked is one of {', '.join(ON_LOCKED)}, not {on_locked!r}")
        _, _, args, kwargs = base_field.deconstruct()
        if isinstance(base_field, models.SlugField):
            kwargs.setdefault("db_index", False)  # its index by default would index ciphertext
        self.inner = base_field  # first: some constructors read `validators`
        super().__init__(*args, **kwargs)
        self.__dict__.pop("validators", None)  # CharField's own constructor appended to them once more
        self.field_id, self.model_id, self.tenant_from, self.bind_row = field_id, model_id, tenant_from, bind_row
        self.plaintext, self.state = plaintext, state
        self.label, self.on_locked = label, on_locked
        self.index = list(index)

    def contribute_to_class(self, cls: type[models.Model], name: str, **kwargs: Any) -> None:  # type: ignore[override]
        for cached in ("binding", "index_columns", "validators"):
            self.__dict__.pop(cached, None)
        self.inner.name = name  # for its error messages
        super().contribute_to_class(cls, name, **kwargs)
        install()
        install_uniqueness()
        if self.column:  # also over the attribute that an abstract parent left, which knows the wrong model
            setattr(cls, self.attname, SealedAttribute(self))
        for one in self.index:
            add_column(cls, f"{name}_{one.label}_index", IndexColumn([name], one))

    @cached_property
    def binding(self) -> Binding:
        return Binding(self)

    @cached_property
    def index_columns(self) -> list[IndexColumn]:
        """The columns that index this field, alone or with others."""
        return columns_of(self)

    @cached_property
    def codec(self) -> FieldCodec:
        return FieldCodec(self.inner)

    def deconstruct(self) -> tuple[str, str, list[Any], dict[str, Any]]:
        """For migrations: the inner field and our options, never a key. Ids of the model become the field's, since
        the models inside migrations have no attributes of their own."""
        model = getattr(self, "model", None)
        options = {
            "field_id": self.field_id,
            "model_id": self.model_id or getattr(model, "cmk_model_id", None),
            "tenant_from": self.tenant_from or (None if model is None else vars_of(model, "cmk_tenant_from")),
            "bind_row": self.bind_row,
            "plaintext": self.plaintext,
            "state": self.state,
            "label": self.label,
            "on_locked": None if self.on_locked == "sentinel" else self.on_locked,
        }
        given = {name: value for name, value in options.items() if value is not None}
        return self.name, "encrypted_fields.EncryptedField", [self.inner], given

    def check(self, **kwargs: Any) -> list[Any]:
        return [*super().check(**kwargs), *problems(self), *warnings(self)]

    # --- the inner field's behaviour

    @cached_property
    def validators(self) -> list[Any]:
        found = list(self.inner.validators)
        return [*found, Once(self)] if hasattr(self, "model") and self.index_columns else found

    @cached_property
    def _get_default(self) -> Callable[[], Any]:
        found: Callable[[], Any] = self.inner._get_default  # type: ignore[attr-defined]
        return found

    @property
    def _db_default_expression(self) -> Any:
        # E004 tells it earlier; here whoever did not look at the checks is kept from a default in clear in the schema
        raise FieldError(f"{self.name} is encrypted: the database cannot encrypt db_default. Use default=")

    def has_default(self) -> bool:
        # Migrations would write a default in clear into a new column; rows get theirs from the model instead.
        model = getattr(self, "model", None)
        return super().has_default() and (model is None or model.__module__ != "__fake__")

    def clean(self, value: Any, model_instance: models.Model | None) -> Any:
        if isinstance(value, Locked | Stored):
            return value
        return super().clean(value, model_instance)

    def to_python(self, value: Any) -> Any:
        value = loaded(value)
        return value if isinstance(value, Locked | Stored) else super().to_python(value)

    def formfield(self, **kwargs: Any) -> Any:
        found = super().formfield(**kwargs)
        if found is not None and found.bound_field_class is None:
            from encrypted_fields.bound_fields import BoundFor

            # called like the class that the stubs ask for
            found.bound_field_class = BoundFor(omits=self.on_locked == "omit")  # type: ignore[assignment]
        return found

    def save_form_data(self, instance: models.Model, data: Any) -> None:
        # A form shows a locked value as its sentence; what comes back must not replace the value.
        if not isinstance(getattr(instance, self.attname), Locked):
            super().save_form_data(instance, data)

    # --- the column

    def get_internal_type(self) -> str:
        return "BinaryField"

    def db_type(self, connection: Any) -> str:
        found: str = connection.data_types["BinaryField"]
        return found

    def db_parameters(self, connection: Any) -> dict[str, Any]:
        return {"type": self.db_type(connection), "check": None}

    @property
    def get_placeholder(self) -> Any:
        # The inner field's would cast ciphertext. Django asks whether there is one.
        raise AttributeError

    def db_check(self, connection: Any) -> None:
        return None

    def db_type_suffix(self, connection: Any) -> None:
        return None

    def cast_db_type(self, connection: Any) -> str:
        return self.db_type(connection)

    # --- reading

    def get_col(self, alias: Any, output_field: Any = None) -> EncryptedCol:
        if alias == self.model._meta.db_table and output_field in (None, self):
            return self.cached_col
        return EncryptedCol(alias, self, output_field)

    @cached_property
    def cached_col(self) -> EncryptedCol:
        return EncryptedCol(self.model._meta.db_table, self)

    def get_db_converters(self, connection: Any) -> list[Any]:
        return []

    def get_lookup(self, lookup_name: str) -> Any:
        """isnull, `= None` and what an index answers. FieldError for everything else: on random ciphertext it would
        silently find nothing."""
        for column in self.index_columns:
            answer = answering(column, lookup_name) if len(column.sources) == 1 else None
            if answer is not None:
                return answer
        found = {"isnull": EncryptedIsNull, "exact": NullOnly}.get(lookup_name)
        if found is None:
            raise unanswered(self, lookup_name)
        return found

    def get_transform(self, lookup_name: str) -> Any:
        raise refused(self)

    # --- writing

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """The value with its row, to be sealed when the whole statement is known; unopened bytes as they are."""
        value = model_instance.__dict__.get(self.attname)
        if type(value) is str and self._saves_as_it_is:
            return Pending(self, model_instance, value)
        if not self._saves_as_it_is and (not isinstance(value, Sealed | Locked) or getattr(self, "auto_now", False)):
            super().pre_save(model_instance, add)  # may set the attribute, as auto_now does
        value = value_to_seal(self, model_instance, add)
        if isinstance(value, Sealed | Stored):
            return Kept(self, model_instance, value) if self.index_columns and self.state is None else value
        return None if value is None else Pending(self, model_instance, value)

    @cached_property
    def _saves_as_it_is(self) -> bool:
        return type(self.inner).pre_save is models.Field.pre_save

    def get_db_prep_save(self, value: Any, connection: Any) -> Any:
        if value is None or isinstance(value, Pending | Kept):
            return value
        if isinstance(value, Locked):
            value = value.sealed
        if isinstance(value, Stored):
            return connection.Database.Binary(value.data)
        if isinstance(value, Sealed):
            return connection.Database.Binary(value.stored(self))
        return Rewritten(self, value) if hasattr(value, "as_sql") else Unplaced(self, value)

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        if value is None:
            return None
        raise refused(self)


@cache
def _class_for(inner: type[models.Field[Any, Any]], moving: bool) -> type[EncryptedField[Any, Any]]:
    # A subclass of both, so that forms, admin and serializers, which go by class, treat it as the inner field.
    base = import_module("encrypted_fields.moving.field").MovingField if moving else EncryptedField
    return type(f"Encrypted{inner.__name__}", (base, inner), {"__module__": __name__})
