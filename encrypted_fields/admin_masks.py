"""Masks in the admin: what lists, pages and inlines show in the place of encrypted values, and never opens them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.text import capfirst

BADGE = "access withdrawn by the customer"
TICKET = "cmk_reveal"  # in the session: {"row": …, "reason": …, "until": …}; on a request that reveals: the reason

if TYPE_CHECKING:
    _Admin = admin.ModelAdmin[Any]
else:
    _Admin = object


class Masked(_Admin):
    """What lists, pages and inlines share: a mask in the place of each encrypted field."""

    @cached_property
    def _masks(self) -> dict[Any, Mask]:
        return {
            field.name: Mask(field, self.get_empty_value_display())
            for field in self.opts.concrete_fields
            if getattr(field, "cmk_encrypted", False)
        }

    def _masks_for(self, request: HttpRequest, obj: Any) -> bool:
        return obj is not None and not reason_of(request)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        found = super().get_fieldsets(request, obj)
        if not self._masks_for(request, obj):
            return found
        return [(title, {**options, "fields": self._masked(options["fields"])}) for title, options in found]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        found = super().get_readonly_fields(request, obj)
        if not self._masks_for(request, obj):
            return found
        return [*(name for name in found if name not in self._masks), *self._masks.values()]

    def _masked(self, names: Iterable[Any]) -> list[Any]:
        return [
            tuple(self._masked(name)) if isinstance(name, list | tuple) else self._masks.get(name, name)
            for name in names
        ]


class EncryptedInline(Masked):
    """Before TabularInline or StackedInline: masked rows and the way to their own pages, where they can be revealed."""

    show_change_link = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def _masks_for(self, request: HttpRequest, obj: Any) -> bool:
        return True


class Mask:
    """A column of lists, and a read-only field of pages, in the place of one encrypted field. It never opens."""

    def __init__(self, field: Any, empty: str) -> None:
        self.field, self._empty = field, empty
        self.__name__, self.short_description = field.name, field.verbose_name

    def __call__(self, obj: Any) -> Any:
        if obj.__dict__.get(self.field.attname) is None:
            return self._empty
        if obj.__dict__.get("_cmk_withdrawn"):
            return format_html('<span class="cmk-badge">{}</span>', capfirst(BADGE))
        return format_html(
            '<span class="cmk-mask"><span aria-hidden="true">{}</span><span class="visually-hidden">{}</span></span>',
            "••••••••",
            "Hidden",
        )


def reason_of(request: HttpRequest) -> str:
    """Why this request reveals a row, or ""."""
    return str(getattr(request, TICKET, ""))
