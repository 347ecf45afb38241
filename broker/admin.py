"""The operators' administration: vendors, tenants, people, keys and tokens. Every write goes through a service."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from broker import services
from broker.models import Config, Member, ProxyInstance, ProxyKey, ServiceToken, Tenant, TenantSecret, Trail, Vendor
from broker.pictures import media_type
from broker.services import Actor
from tsp.contract.sealed import PUBLIC_KEY_BYTES, key_id


class Kept(admin.ModelAdmin):  # type: ignore[type-arg]  # only the stubs know it as generic
    """Nothing is deleted here, and nothing that is bound by name is renamed."""

    fixed: tuple[str, ...] = ()

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> tuple[str, ...]:
        return self.fixed if obj else ()

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class Shown(Kept):
    """Only to be looked at."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class VendorForm(forms.ModelForm):  # type: ignore[type-arg]
    picture = forms.FileField(label="Logo", required=False, help_text="PNG, JPEG or WebP of at most 64 KiB.")

    class Meta:
        model = Vendor
        fields = ("name", "title", "colour")

    def clean_picture(self) -> bytes | None:
        uploaded = self.cleaned_data.get("picture")
        if not uploaded:
            return None
        picture = bytes(uploaded.read(70_000))
        if media_type(picture) is None:
            raise forms.ValidationError("That is not a PNG, JPEG or WebP picture of at most 64 KiB.")
        return picture


@admin.register(Vendor)
class VendorAdmin(Kept):
    form = VendorForm
    list_display = ("title", "name", "colour")
    fixed = ("name",)

    def save_model(self, request: HttpRequest, obj: Vendor, form: ModelForm[Vendor], change: bool) -> None:
        by, logo = Actor.of(request), form.cleaned_data["picture"]
        if change:
            services.restyle_vendor(vendor=obj, title=obj.title, colour=obj.colour, logo=logo, by=by)
        else:
            made = services.create_vendor(name=obj.name, title=obj.title, colour=obj.colour, logo=logo or b"", by=by)
            _become(obj, made)


@admin.register(Tenant)
class TenantAdmin(Kept):
    fields = ("vendor", "name", "title", "leasing_required")
    list_display = ("title", "name", "vendor", "leasing_required")
    list_filter = ("vendor", "leasing_required")
    search_fields = ("name", "title")
    fixed = ("vendor", "name")

    def save_model(self, request: HttpRequest, obj: Tenant, form: ModelForm[Tenant], change: bool) -> None:
        by = Actor.of(request)
        if change:
            if "title" in form.changed_data:
                services.restyle_tenant(tenant=obj, title=obj.title, by=by)
            if "leasing_required" in form.changed_data:
                services.require_leasing(tenant=obj, required=obj.leasing_required, by=by)
        else:
            made = services.create_tenant(
                vendor=obj.vendor, name=obj.name, title=obj.title, leasing_required=obj.leasing_required, by=by
            )
            _become(obj, made)


class MemberForm(forms.ModelForm):  # type: ignore[type-arg]
    email = forms.EmailField(label="E-mail address")
    password = forms.CharField(
        required=False, widget=forms.PasswordInput, help_text="For somebody new. Somebody known keeps their own."
    )

    class Meta:
        model = Member
        fields = ("vendor", "tenant", "role")

    def clean(self) -> dict[str, Any]:
        found = super().clean() or {}
        tenant, operator = found.get("tenant"), found.get("role") == "operator"
        if operator is not (tenant is None) or (tenant and tenant.vendor != found.get("vendor")):
            raise forms.ValidationError("An operator has no tenant; an admin or viewer has one of this vendor's.")
        there = Member.objects.filter(vendor=found.get("vendor"), tenant=tenant)
        if there.filter(user__email=found.get("email", "").lower()).exists():
            raise forms.ValidationError("That person is a member there already.")
        return found


@admin.register(Member)
class MemberAdmin(Kept):
    form = MemberForm
    list_display = ("user", "role", "tenant", "vendor")
    list_filter = ("vendor", "role")

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: Member, form: ModelForm[Member], change: bool) -> None:
        by, said = Actor.of(request), form.cleaned_data
        person = {"email": said["email"], "password": said["password"] or None, "by": by}
        if obj.tenant is None:
            _become(obj, services.add_operator(vendor=obj.vendor, **person))
        else:
            _become(obj, services.add_member(tenant=obj.tenant, role=obj.role, **person))


class ProxyKeyForm(forms.ModelForm):  # type: ignore[type-arg]
    text = forms.CharField(label="Public key", help_text="Base64, as tsp_keygen printed it.", widget=forms.TextInput)

    class Meta:
        model = ProxyKey
        fields = ("vendor", "label")

    def clean_text(self) -> bytes:
        try:
            found = base64.b64decode(self.cleaned_data["text"].strip(), validate=True)
        except (binascii.Error, ValueError):
            raise forms.ValidationError("That is not base64.") from None
        if len(found) != PUBLIC_KEY_BYTES or not any(found):
            raise forms.ValidationError("A proxy key is an X25519 public key of 32 bytes.")
        if ProxyKey.objects.filter(vendor=self.cleaned_data.get("vendor"), key=key_id(found)).exists():
            raise forms.ValidationError("That key is registered already.")
        return found


@admin.register(ProxyKey)
class ProxyKeyAdmin(Kept):
    form = ProxyKeyForm
    list_display = ("label", "fingerprint", "state", "vendor")
    actions = ("retire",)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return obj is None and super().has_change_permission(request)

    def save_model(self, request: HttpRequest, obj: ProxyKey, form: ModelForm[ProxyKey], change: bool) -> None:
        key = form.cleaned_data["text"]
        made = services.register_proxy_key(vendor=obj.vendor, public_key=key, label=obj.label, by=Actor.of(request))
        _become(obj, made)

    @admin.action(description="Retire the selected keys", permissions=["change"])
    def retire(self, request: HttpRequest, queryset: QuerySet[ProxyKey]) -> None:
        count = sum(services.retire_proxy_key(proxy_key=key, by=Actor.of(request)) for key in queryset)
        self.message_user(request, f"{count} retired. Tenants now seal without them.", messages.SUCCESS)


@admin.register(ServiceToken)
class ServiceTokenAdmin(Kept):
    fields = ("vendor", "label")
    list_display = ("label", "vendor", "scope", "created", "revoked")
    actions = ("revoke",)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return obj is None and super().has_change_permission(request)

    def save_model(self, request: HttpRequest, obj: ServiceToken, form: ModelForm[ServiceToken], change: bool) -> None:
        token = services.issue_service_token(vendor=obj.vendor, label=obj.label, by=Actor.of(request))
        _become(obj, ServiceToken.objects.get(pk=token.split(".")[1]))
        request.META["broker.token"] = token  # for response_add only: it is never stored, not even in the session

    def response_add(
        self, request: HttpRequest, obj: ServiceToken, post_url_continue: str | None = None
    ) -> HttpResponse:
        context = {**self.admin_site.each_context(request), "token": request.META["broker.token"], "label": obj.label}
        return render(request, "broker/token.html", context)

    @admin.action(description="Revoke the selected tokens", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ServiceToken]) -> None:
        count = sum(services.revoke_service_token(token=token, by=Actor.of(request)) for token in queryset)
        self.message_user(request, f"{count} revoked. Proxies that use them are let in no more.", messages.SUCCESS)


@admin.register(Config)
class ConfigAdmin(Shown):
    list_display = ("number", "label", "kind", "tenant", "enabled")
    list_filter = ("kind", "enabled")


@admin.register(TenantSecret)
class TenantSecretAdmin(Shown):
    list_display = ("number", "tenant", "kind", "path", "state", "created")
    list_filter = ("state", "kind")


@admin.register(ProxyInstance)
class ProxyInstanceAdmin(Shown):
    list_display = ("name", "vendor", "version", "seen")


@admin.register(Trail)
class TrailAdmin(Shown):
    list_display = ("at", "actor", "action", "subject", "tenant", "address")
    list_filter = ("action", "vendor")
    date_hierarchy = "at"


def _become(shown: Model, made: Model) -> None:
    """Give the object that the administration holds the identity of the row that the service made."""
    shown.__dict__.update(made.__dict__)
