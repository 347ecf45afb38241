"""Vendors, tenants and people."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from broker.errors import BrokerRefused, NameTaken, NotALogo, NotAName
from broker.models import Member, Tenant, User, Vendor
from broker.models.people import MAX_LOGO, MAX_NAME
from broker.pictures import media_type
from broker.services.trail import Actor, leave
from tsp.contract.tenant import is_name


@transaction.atomic
def create_vendor(*, name: str, title: str, by: Actor, colour: str = "#2f5d8a", logo: bytes = b"") -> Vendor:
    """NotAName, NameTaken, NotALogo. `name` is for ever; `colour` is #rrggbb."""
    if not is_name(name):
        raise NotAName()
    if Vendor.objects.filter(name=name).exists():
        raise NameTaken()
    vendor = Vendor(name=name)
    _style(vendor, title, colour, logo)
    leave("vendor.created", by=by, vendor=vendor, subject=name)
    return vendor


@transaction.atomic
def restyle_vendor(*, vendor: Vendor, title: str, colour: str, by: Actor, logo: bytes | None = None) -> Vendor:
    """How the vendor looks; `logo` None keeps the one there is, b"" takes it away."""
    _style(vendor, title, colour, bytes(vendor.logo) if logo is None else logo)
    leave("vendor.restyled", by=by, vendor=vendor, subject=vendor.name)
    return vendor


@transaction.atomic
def create_tenant(*, vendor: Vendor, name: str, by: Actor, title: str = "", leasing_required: bool = False) -> Tenant:
    """NotAName, NameTaken. `name` is the tenant id that the SaaS sends to the proxy, and for ever."""
    if not is_name(name):
        raise NotAName()
    if Tenant.objects.filter(vendor=vendor, name=name).exists():
        raise NameTaken()
    tenant = Tenant.objects.create(
        vendor=vendor, name=name, title=_title(title or name), leasing_required=leasing_required
    )
    leave("tenant.created", by=by, vendor=vendor, tenant=tenant, subject=name)
    return tenant


@transaction.atomic
def restyle_tenant(*, tenant: Tenant, title: str, by: Actor) -> Tenant:
    """How the tenant is shown."""
    tenant.title = _title(title)
    tenant.save(update_fields=["title"])
    leave("tenant.restyled", by=by, vendor=tenant.vendor, tenant=tenant, subject=tenant.name)
    return tenant


@transaction.atomic
def require_leasing(*, tenant: Tenant, required: bool, by: Actor) -> Tenant:
    """Whether the vendor wants the tenant's new key configurations leased. Proxies hear of it within seconds."""
    tenant.leasing_required = required
    tenant.save(update_fields=["leasing_required"])
    name = "tenant.leasing_required" if required else "tenant.leasing_optional"
    leave(name, by=by, vendor=tenant.vendor, tenant=tenant, subject=tenant.name)
    return tenant


@transaction.atomic
def add_member(
    *, tenant: Tenant, email: str, by: Actor, role: str = "admin", password: str | None = None, full_name: str = ""
) -> Member:
    """Let a person see ("viewer") or configure ("admin") one tenant; NameTaken when they already may.

    Somebody new gets `password` (None: they cannot sign in yet); somebody known keeps their own.
    """
    if role not in ("admin", "viewer"):
        raise ValueError("a tenant's member is an admin or a viewer")
    user = _person(email, password, full_name)
    member = _join(Member(user=user, vendor=tenant.vendor, tenant=tenant, role=role))
    leave("member.added", by=by, vendor=tenant.vendor, tenant=tenant, subject=user.email, role=role)
    return member


@transaction.atomic
def add_operator(
    *, vendor: Vendor, email: str, by: Actor, password: str | None = None, full_name: str = "", superuser: bool = False
) -> Member:
    """Let a person see all of a vendor's tenants; with `superuser` a new person may use the administration as well."""
    user = _person(email, password, full_name, superuser)
    member = _join(Member(user=user, vendor=vendor, role="operator"))
    leave("operator.added", by=by, vendor=vendor, subject=user.email, superuser=user.is_superuser)
    return member


def _style(vendor: Vendor, title: str, colour: str, logo: bytes) -> None:
    if logo and (len(logo) > MAX_LOGO or media_type(logo) is None):
        raise NotALogo()
    vendor.title, vendor.colour, vendor.logo = _title(title), colour, logo
    try:
        vendor.clean_fields(exclude=["id", "name", "logo"])
    except ValidationError:
        raise BrokerRefused("a vendor needs a title of at most 100 characters and a colour like #2f5d8a") from None
    vendor.save()


def _title(text: str) -> str:
    title = " ".join(text.split())
    if not 0 < len(title) <= 100:
        raise BrokerRefused("a title is 1 to 100 characters long")
    return title


def _person(email: str, password: str | None, full_name: str, superuser: bool = False) -> User:
    address = email.strip().lower()
    try:
        validate_email(address)
    except ValidationError:
        raise BrokerRefused("that is not an e-mail address") from None
    known = User.objects.filter(email=address).first()
    if known is not None:
        return known
    first, _, last = full_name.strip().partition(" ")
    make = User.objects.create_superuser if superuser else User.objects.create_user
    try:
        with transaction.atomic():
            return make(address, password, first_name=first[:MAX_NAME], last_name=last[:MAX_NAME])
    except IntegrityError:  # somebody invited the same person at the same moment
        return User.objects.get(email=address)


def _join(member: Member) -> Member:
    try:
        with transaction.atomic():
            member.save(force_insert=True)
    except IntegrityError:
        raise NameTaken("that person is a member already") from None
    return member
