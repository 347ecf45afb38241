"""The admin over encrypted fields: masked until somebody with permission reveals a row, which the customer is told.

    @admin.register(Patient)
    class PatientAdmin(EncryptedAdmin, admin.ModelAdmin): …

    class Patient(models.Model):
        class Meta:
            permissions = [("reveal_patient", "Can reveal encrypted values of patients")]

Lists and pages open nothing. One key for each tenant on a page is asked for, to see whether access was withdrawn; then
the values of its rows carry the badge. A new row is typed in as in any admin.
"""

from __future__ import annotations

from dataclasses import replace
from time import time
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.core import checks
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.text import capfirst
from django.views.decorators.http import require_POST

from encrypted_fields import client
from encrypted_fields.access import withdrawn
from encrypted_fields.admin_masks import BADGE, TICKET, EncryptedInline, Mask, Masked, reason_of
from encrypted_fields.core.errors import CmkError
from encrypted_fields.opening import open_rows
from encrypted_fields.policy import permit
from encrypted_fields.tenancy import MOST_REASON, by, metadata

EVENT = "CUSTOM_REVEAL"
_SECONDS = 60  # from the button to the page that shows the values
_REVEALED = "_revealed"  # in the address that the form of such a page posts to

__all__ = ["EncryptedAdmin", "EncryptedInline"]


class EncryptedAdmin(Masked):
    """Before ModelAdmin. `has_reveal_permission` decides; by default the permission `reveal_<model>`."""

    change_form_template = "encrypted_fields/admin/change_form.html"

    def has_reveal_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        meta = self.opts
        return bool(request.user.has_perm(f"{meta.app_label}.reveal_{meta.model_name}"))

    # --- lists

    def get_list_display(self, request: HttpRequest) -> Any:
        return [self._masks.get(name, name) for name in super().get_list_display(request)]

    def get_list_display_links(self, request: HttpRequest, list_display: Any) -> Any:
        links = super().get_list_display_links(request, list_display)
        return links and [self._masks.get(name, name) for name in links]

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        found = super().get_changelist_instance(request)
        if any(isinstance(column, Mask) for column in found.list_display):
            found.result_list = rows = list(found.result_list)
            self._mark(request, rows)
        return found

    # --- one row

    def get_object(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        obj = super().get_object(request, *args, **kwargs)
        if obj is not None and reason_of(request):
            with by(request.user.pk, reason_of(request)):
                open_rows([obj])
        elif obj is not None:
            self._mark(request, [obj])
        return obj

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        reason = self._revealing(request, object_id)
        if reason:
            setattr(request, TICKET, reason)
            form_url = f"{self._address('change', object_id)}?{_REVEALED}=1"
        response: HttpResponse = super().change_view(request, object_id, form_url, extra_context)
        if reason:
            response["Cache-Control"] = "no-store"
        return response

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        obj = kwargs.get("obj")
        if obj is not None and self._masks_for(request, obj):
            locked = bool(obj.__dict__.get("_cmk_withdrawn"))
            offered = not locked and self.has_reveal_permission(request, obj)
            context |= {
                "cmk_locked": locked,
                "cmk_badge": capfirst(BADGE),
                "cmk_reveal_url": self._address("reveal", quote(obj.pk)) if offered else "",
            }
        return super().render_change_form(request, context, *args, **kwargs)

    def get_urls(self) -> list[Any]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_reveal"
        view = self.admin_site.admin_view(self.reveal_view)
        return [path("<path:object_id>/reveal/", view, name=name), *super().get_urls()]

    @method_decorator(require_POST)
    def reveal_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Tells the customer's trail, and only then lets the next page show the values, once."""
        obj = super().get_object(request, unquote(object_id))
        if obj is None or not self.has_view_or_change_permission(request, obj):
            raise PermissionDenied
        if not self.has_reveal_permission(request, obj):
            raise PermissionDenied
        reason = request.POST.get("reason", "").strip()[:MOST_REASON]
        if not reason:
            messages.error(request, "Not revealed: say why. The customer sees the reason.")
        else:
            try:
                with by(request.user.pk, reason):
                    self._announce(obj)
            except CmkError as error:
                messages.error(request, f"Not revealed: {error}.")
            else:
                ticket = {"row": self._row(object_id), "reason": reason, "until": time() + _SECONDS}
                request.session[TICKET] = ticket
        return HttpResponseRedirect(self._address("change", object_id))

    @property
    def media(self) -> Any:
        return super().media + forms.Media(css={"all": ["encrypted_fields/admin.css"]})

    def check(self, **kwargs: Any) -> list[Any]:
        found: list[Any] = super().check(**kwargs)
        editable = [name for name in self.list_editable if name in self._masks]
        if editable:
            found.append(
                checks.Error(
                    f"list_editable names {editable[0]}, which is masked in lists: saving the list would empty it",
                    hint="Edit it on the row's own page, after a reveal.",
                    obj=type(self),
                    id="encrypted_fields.E062",
                )
            )
        wanted = f"reveal_{self.opts.model_name}"
        if wanted not in {name for name, _ in self.opts.permissions}:
            found.append(
                checks.Warning(
                    f"{self.opts.label} has no permission {wanted!r}: only superusers can reveal its values",
                    hint=f'Add ("{wanted}", "…") to Meta.permissions, then makemigrations and migrate.',
                    obj=type(self),
                    id="encrypted_fields.W062",
                )
            )
        return found

    # --- inside

    def _mark(self, request: HttpRequest, rows: list[Any]) -> None:
        with by(request.user.pk, "is access withdrawn?"):
            found = withdrawn(rows)
        for row in rows:
            row.__dict__["_cmk_withdrawn"] = row in found

    def _announce(self, obj: Any) -> None:
        """One event for each tenant and label in the row."""
        told: dict[tuple[str, str], list[str]] = {}
        for name, mask in self._masks.items():
            binding = mask.field.binding
            told.setdefault((binding.tenant_of(obj), binding.label), []).append(name)
        for (tenant, label), names in told.items():
            about = permit(metadata(tenant, label, str(obj.pk)), "reveal")
            custom = {**about.custom, "fields": ",".join(names), "where": "admin"}
            client.current().security_event(replace(about, custom=custom), EVENT)

    def _revealing(self, request: HttpRequest, object_id: str) -> str:
        """Why the values are shown on this page, or "". A ticket is good for one page; saving that page needs the
        permission again."""
        if request.method == "POST":
            may = _REVEALED in request.GET and self.has_reveal_permission(request)
            return "saving what was revealed" if may else ""
        ticket = request.session.get(TICKET) or {}
        if ticket.get("row") != self._row(object_id):
            return ""
        del request.session[TICKET]
        return str(ticket["reason"]) if time() < ticket["until"] and self.has_reveal_permission(request) else ""

    def _row(self, object_id: str) -> str:
        return f"{self.opts.label}/{object_id}"

    def _address(self, view: str, object_id: Any) -> str:
        name = f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_{view}"
        return reverse(name, args=[object_id], current_app=self.admin_site.name)
