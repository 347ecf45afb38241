"""What may be asked of an encrypted field. Each capability is an indexed column of its own, and tells what it reveals.

A capability has no state and no key: it is written into migrations as it is.
"""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from django.utils.deconstruct import deconstructible

from encrypted_fields.core.blind import FULL, HEAD, blind, size
from encrypted_fields.fields.codecs import from_bytes, to_bytes

LEAST_BITS, MOST_BITS = 4, 64
NOTHING = b""  # the form of a value of which an index takes nothing


class Capability:
    """`name` ends the column's name; `spec` is bound into the key: another spec is another index."""

    name: ClassVar[str] = ""
    text_only: ClassVar[bool] = False
    unique: ClassVar[bool] = False
    bits: int = FULL

    @property
    def label(self) -> str:
        return self.name

    @property
    def spec(self) -> str:
        return self.name

    @property
    def lookups(self) -> frozenset[str]:
        """Names of the lookups that this index answers."""
        return frozenset()

    def form(self, value: Any) -> Any:
        """What of the value is indexed."""
        return value

    def encode(self, fields: Sequence[Any], values: Sequence[Any]) -> tuple[bytes, ...] | None:
        """The bytes of each field's value that are indexed; None when one of them is NULL. A value of which nothing is
        indexed gives no bytes at all, which nobody can ask for: only NULL has no index value."""
        if any(value is None for value in values):
            return None
        forms = [self.form(as_stored(field, one)) for field, one in zip(fields, values, strict=True)]
        return tuple(NOTHING if form is None else _form_bytes(form) for form in forms)

    def stored(self, mac: hmac.HMAC, number: int, values: Sequence[bytes], fields: Sequence[Any]) -> bytes:
        """What the column holds for the values that `encode` gave."""
        return blind(mac, number, values, self.bits)

    def size(self, fields: Sequence[Any]) -> int:
        """Bytes that the column holds."""
        return HEAD + size(self.bits)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash((type(self), self.spec))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.spec}>"


def as_stored(field: Any, value: Any) -> Any:
    """The value as it would come back from the column: "12" of an IntegerField is 12."""
    return from_bytes(field.codec.dump(value))


def _form_bytes(form: Any) -> bytes:
    return to_bytes(0.0 if form == 0 and isinstance(form, float) else form)


def folded(text: str) -> str:
    """The same for texts that differ in case, width or composition only (Unicode TR31, NFKC and case folding)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


@deconstructible(path="encrypted_fields.search.Exact")
class Exact(Capability):
    """`filter(email="x")` and `__in`. Reveals which rows of a tenant have the same value.

    `bits` cuts the digest on purpose, so that several values share one: the column then says less, and only
    `__candidates` may be asked, which finds more than it should. `filtered_by()` sorts those out.
    """

    name = "exact"

    def __init__(self, *, bits: int | None = None) -> None:
        if bits is not None and not LEAST_BITS <= bits <= MOST_BITS:
            raise ValueError(f"a truncated index has {LEAST_BITS} to {MOST_BITS} bits")
        self.bits = bits or FULL

    @property
    def label(self) -> str:
        return self.name if self.bits == FULL else "rough"

    @property
    def spec(self) -> str:
        return self.name if self.bits == FULL else f"{self.name}/{self.bits}"

    @property
    def lookups(self) -> frozenset[str]:
        return frozenset({"exact", "in"} if self.bits == FULL else {"candidates"})


@deconstructible(path="encrypted_fields.search.Folded")
class Folded(Capability):
    """`filter(email__iexact="X")`: without regard to case, width and composition."""

    name = "folded"
    text_only = True
    lookups = frozenset({"iexact"})

    def form(self, value: Any) -> Any:
        return folded(value)


@deconstructible(path="encrypted_fields.search.Unique")
class Unique(Capability):
    """`filter(email="x")`, and the database refuses a second row of the same tenant with the same value.

    Two columns: one under the oldest tenant secret in use and one under the newest, so that the promise holds while a
    rotation is under way. `folded=True` compares as Folded does, and answers `__iexact`.
    """

    name = "unique"
    unique = True

    def __init__(self, *, folded: bool = False) -> None:
        self.folded = folded

    @property
    def text_only(self) -> bool:  # type: ignore[override]
        return self.folded

    @property
    def spec(self) -> str:
        return "unique/folded" if self.folded else "unique"

    @property
    def lookups(self) -> frozenset[str]:
        return frozenset({"iexact"} if self.folded else {"exact", "in"})

    def form(self, value: Any) -> Any:
        return folded(value) if self.folded else value


class _Part(Capability):
    text_only = True

    def __init__(self, length: int, *, folded: bool = False) -> None:
        if not 1 <= length <= 64:
            raise ValueError("an index of a part takes 1 to 64 characters")
        self.length, self.folded = length, folded

    @property
    def label(self) -> str:
        return f"{self.name}{self.length}"

    @property
    def spec(self) -> str:
        return f"{self.name}/{self.length}" + ("/folded" if self.folded else "")

    @property
    def lookups(self) -> frozenset[str]:
        return frozenset({self.label})


@deconstructible(path="encrypted_fields.search.Last")
class Last(_Part):
    """`Last(4)`: `filter(phone__last4="1234")`. The last characters; a longer text asks for its own last ones."""

    name = "last"

    def form(self, value: Any) -> Any:
        return (folded(value) if self.folded else value)[-self.length :]


@deconstructible(path="encrypted_fields.search.Prefix")
class Prefix(_Part):
    """`Prefix(3)`: `filter(name__prefix3="Smi")`. The first characters; a longer text asks for its own first ones."""

    name = "prefix"

    def form(self, value: Any) -> Any:
        return (folded(value) if self.folded else value)[: self.length]


@deconstructible(path="encrypted_fields.search.By")
class By(Capability):
    """`By("digits", only_digits)`: `filter(phone__digits=…)` compares what the function makes of both values.

    The function takes and gives a plain value, always the same one, and `f(f(x)) == f(x)`; None is never found.
    Name a new index when the function changes.
    """

    def __init__(self, name: str, function: Callable[[Any], Any]) -> None:
        if not name.isidentifier() or "__" in name or not name.islower():
            raise ValueError("an index is named like a lookup: lower case letters, digits and single underscores")
        self.given, self.function = name, function

    @property
    def label(self) -> str:
        return self.given

    @property
    def spec(self) -> str:
        return f"by/{self.given}"

    @property
    def lookups(self) -> frozenset[str]:
        return frozenset({self.given})

    def form(self, value: Any) -> Any:
        return self.function(value)
