"""Models in pairs, alike but for one thing: in the first the columns are plain, in the second they are encrypted."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from django.db import models

from encrypted_fields import EncryptedField
from tests.encrypted_fields.matrix.types import ARRAYS, TYPES


class Family(NamedTuple):
    """A model, what points to it, and what inherits from it or has the same columns elsewhere."""

    row: Any
    link: Any
    proxy: Any
    heir: Any
    trunk: Any
    child: Any


def model(name: str, *bases: type[models.Model], **attributes: Any) -> Any:
    # not managed: the matrix makes the tables where it wants them, and no other test has to wait for them
    meta = {"app_label": "matrix", "managed": False, **attributes.pop("Meta", {})}
    made = {name: value() if callable(value) else value for name, value in attributes.items()}  # own field objects
    return type(name, bases or (models.Model,), {"__module__": __name__, "Meta": type("Meta", (), meta), **made})


def family(name: str, fields: dict[str, Any], key: Callable[[], Any]) -> Family:
    columns = model(  # each model below inherits its own copies
        f"{name}Columns",
        Meta={"abstract": True},
        tenant_id=models.CharField(max_length=40, default="north"),
        number=models.IntegerField(default=0),
        label=models.CharField(max_length=60, default=""),
        code=models.CharField(max_length=20, null=True, unique=True),
        cmk_tenant_from="tenant_id",
        **fields,
    )
    row = model(f"{name}Row", columns, id=key)
    link = model(
        f"{name}Link",
        row=models.ForeignKey(row, models.CASCADE, related_name="links"),
        word=models.CharField(max_length=9),
    )
    proxy = model(f"{name}Proxy", row, Meta={"proxy": True})
    heir = model(f"{name}Heir", row, more=models.IntegerField(default=5))
    trunk = model(f"{name}Trunk", bark=models.IntegerField(default=0))
    child = model(f"{name}Child", trunk, columns)
    return Family(row, link, proxy, heir, trunk, child)


def _uuid() -> models.UUIDField[Any, Any]:
    return models.UUIDField(primary_key=True, default=uuid.uuid4)


def _number() -> models.BigAutoField[Any, Any]:
    return models.BigAutoField(primary_key=True)


def _shape(prefix: str, key: Callable[[], Any], **options: Any) -> dict[str, tuple[Family, Family]]:
    """(plain, encrypted) by the name of the type. Types share tables in groups: a narrow table is quick to read."""
    groups: dict[str, list[str]] = {}
    for number, name in enumerate(TYPES):
        groups.setdefault("Array" if name in ARRAYS else f"Group{number // 6}", []).append(name)
    found: dict[str, tuple[Family, Family]] = {}
    for group, names in groups.items():
        fields = [{name: TYPES[name].field(null=True, blank=True) for name in names} for _ in range(2)]
        sealed = {name: EncryptedField(field, **options) for name, field in fields[1].items()}
        sides = family(f"{prefix}{group}Plain", fields[0], key), family(f"{prefix}{group}Sealed", sealed, key)
        found |= dict.fromkeys(names, sides)
    return found


# keys made in Python; keys made by the database and bound to all the same
SHAPES = {"uuid": _shape("Uuid", _uuid), "bound": _shape("Bound", _number, bind_row=True)}


def tables(vendor: str) -> list[Any]:
    """The models that have a table in a database of this kind."""
    families = {id(side): side for shape in SHAPES.values() for sides in shape.values() for side in sides}
    found = [model for side in families.values() for model in (side.row, side.link, side.heir, side.trunk, side.child)]
    return [model for model in found if vendor == "postgresql" or "ArrayPlain" not in model.__name__]
