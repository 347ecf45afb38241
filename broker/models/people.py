"""Vendors, their tenants, and the people who sign in for them."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q

from tsp.contract.tenant import is_name

MAX_NAME = 64
MAX_LOGO = 65_536
ROLES = [("operator", "Operator"), ("admin", "Admin"), ("viewer", "Viewer")]


def check_name(text: str) -> None:
    """A vendor's or tenant's name is an identifier that the proxy compares byte by byte."""
    if not is_name(text):
        raise ValidationError(
            "Use 1 to 64 letters, digits, dots, dashes or underscores, a letter or digit at both ends."
        )


class Users(BaseUserManager["User"]):
    """Makes people who sign in with their e-mail address."""

    def create_user(self, email: str, password: str | None = None, **extra: Any) -> User:
        user = self.model(email=self.normalize_email(email).lower(), **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **extra: Any) -> User:
        return self.create_user(email, password, **{**extra, "is_staff": True, "is_superuser": True})


class User(AbstractUser):
    """A person. Their e-mail address is their login name, kept in lower case."""

    username = None  # type: ignore[assignment]
    email = models.EmailField("e-mail address", unique=True)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects: ClassVar[Users] = Users()  # type: ignore[assignment]

    def __str__(self) -> str:
        return self.email


class Vendor(models.Model):
    """The SaaS company. `name` is what sealed configurations are bound to, for ever; the rest is how it looks."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=MAX_NAME, unique=True, validators=[check_name])
    title = models.CharField("shown as", max_length=100)
    colour = models.CharField(
        max_length=7,
        default="#2f5d8a",
        validators=[RegexValidator(r"\A#[0-9a-f]{6}\Z", "Write it as #rrggbb, in lower case.")],
    )
    logo = models.BinaryField(max_length=MAX_LOGO, blank=True, default=b"", editable=False)
    created = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.title


class Tenant(models.Model):
    """A customer of the vendor. `name` is the tenant id of the wire API and never changes."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    vendor = models.ForeignKey(Vendor, models.PROTECT, related_name="tenants")
    name = models.CharField(max_length=MAX_NAME, validators=[check_name])
    title = models.CharField("shown as", max_length=100)
    leasing_required = models.BooleanField(
        default=False,
        help_text="New key configurations of this tenant must be leased. What is in use already goes on.",
    )
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(fields=["vendor", "name"], name="tenant_name_once_a_vendor")]
        ordering: ClassVar = ["title", "name"]

    def __str__(self) -> str:
        return self.title


class Member(models.Model):
    """What a person may do: an operator works for the vendor, an admin or viewer for one tenant."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    vendor = models.ForeignKey(Vendor, models.PROTECT, related_name="members")
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="members", null=True, blank=True)
    role = models.CharField(max_length=8, choices=ROLES)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            # two constraints, since SQLite knows no NULLS NOT DISTINCT
            models.UniqueConstraint(
                fields=["user", "tenant"], condition=Q(role__in=["admin", "viewer"]), name="member_once"
            ),
            models.UniqueConstraint(fields=["user", "vendor"], condition=Q(role="operator"), name="operator_once"),
            models.CheckConstraint(
                condition=Q(role="operator", tenant__isnull=True)
                | Q(role__in=["admin", "viewer"], tenant__isnull=False),
                name="member_role_fits",
            ),
        ]
        ordering: ClassVar = ["created"]

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"
