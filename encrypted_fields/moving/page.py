"""A page of raw rows with their tenants, and the keys for its values: one call a tenant, however many fields."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from encrypted_fields.core.aead import ValueKey
from encrypted_fields.core.errors import WITHDRAWN, CmkError, InvalidCiphertext
from encrypted_fields.fields.binding import Binding, edek_of
from encrypted_fields.keys import RowKey, new_keys, open_keys
from encrypted_fields.moving.table import Table
from encrypted_fields.moving.tally import Tally, patiently
from encrypted_fields.tenancy import NoTenant, current_tenant, tenant_name


def label_of(binding: Binding) -> str:
    found: str = getattr(binding, "label", None) or binding.model_id
    return found


class Tenants:
    """Whose each row is. `only`: the rows of others are passed over."""

    def __init__(self, table: Table, binding: Binding, only: str | None) -> None:
        self.table, self.binding, self.only = table, binding, only
        names = {field.attname: field for field in table.model._meta.local_concrete_fields}
        self.column: Any = names.get(binding.tenant_column or "")

    def condition(self) -> tuple[str, list[Any]]:
        """SQL that leaves the rows of the one tenant, where a column of the table says whose they are."""
        if self.only is None or self.column is None:
            return "1 = 1", []
        value = self.column.get_db_prep_value(self.column.to_python(self.only), self.table.connection)
        return f"{self.table.name(self.column)} = %s", [value]

    def of(self, pks: Sequence[Any], raw: Sequence[Any] | None) -> list[str | None]:
        """One name a row; None for a row that has no tenant, "" for one of another tenant than `only`."""
        source = self.binding.tenant_from
        found: list[Any]
        if source is None:
            found = [current_tenant()] * len(pks)
        elif raw is not None:
            found = [self.table.value(self.column, one) for one in raw]
        elif callable(source):
            moving = [one.name for one in self.table.model._meta.local_fields if getattr(one, "cmk_encrypted", False)]
            instances = self.table.model._base_manager.using(self.table.using).defer(*moving).in_bulk(list(pks))
            found = [None if pk not in instances else self.binding.own_tenant(instances[pk]) for pk in pks]
        else:
            by_pk = self.binding.tenants(pks, self.table.using)
            found = [by_pk.get(pk) for pk in pks]
        return [self._named(one) for one in found]

    def _named(self, value: Any) -> str | None:
        try:
            name = tenant_name(value)
        except NoTenant:
            return None
        return name if self.only in (None, name) else ""


def keys_to_seal(
    tenants: Iterable[tuple[int, str]], binding: Binding, tally: Tally
) -> tuple[dict[int, RowKey], dict[str, CmkError]]:
    """A new key for each row number, and why some tenants have none."""
    wanted: dict[str, list[int]] = {}
    for number, tenant in tenants:
        wanted.setdefault(tenant, []).append(number)
    found, refused = dict[int, RowKey](), dict[str, CmkError]()
    for tenant, numbers in wanted.items():
        try:
            tally.calls += 1
            keys = patiently(partial(new_keys, tenant, len(numbers), label=label_of(binding)))
        except CmkError as error:
            if error.retryable or not isinstance(error, WITHDRAWN):
                raise
            refused[tenant] = error
            continue
        found.update(zip(numbers, keys, strict=True))
    return found, refused


def keys_to_open(
    stored: Iterable[tuple[str, bytes]], binding: Binding, tally: Tally
) -> dict[tuple[str, bytes], ValueKey | CmkError]:
    """(tenant, stored value) → by (tenant, EDEK) its key, or why there is none. One key opens each value of its row."""
    wanted: dict[str, dict[bytes, None]] = {}
    for tenant, value in stored:
        try:
            wanted.setdefault(tenant, {})[edek_of(value)] = None
        except InvalidCiphertext:
            continue  # whoever opens that value is told
    found: dict[tuple[str, bytes], ValueKey | CmkError] = {}
    for tenant, edeks in wanted.items():
        tally.calls += 1
        try:
            keys = patiently(partial(_all_keys, tenant, list(edeks), label_of(binding)))
        except WITHDRAWN as error:
            keys = dict.fromkeys(edeks, error)
        found |= {(tenant, edek): key for edek, key in keys.items()}
    return found


def _all_keys(tenant: str, edeks: list[bytes], label: str) -> dict[bytes, ValueKey | CmkError]:
    return dict(open_keys(tenant, edeks, label=label))


def opened(field: Any, stored: bytes, tenant: str, pk: Any, keys: dict[tuple[str, bytes], ValueKey | CmkError]) -> Any:
    """The value. CmkError when it does not open."""
    binding: Binding = field.binding
    key = keys.get((tenant, edek_of(stored)))
    if not isinstance(key, ValueKey):
        raise key or InvalidCiphertext()
    row = binding.row_part(pk) if stored[4] == 1 else None
    return field.codec.load(binding.open(stored, key, tenant, row))
