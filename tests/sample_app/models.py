"""Patients, visits and whatever else shows a shape of model that encrypted fields meet."""

from __future__ import annotations

import datetime
import uuid
from typing import TYPE_CHECKING, assert_type

from django.db import models

from encrypted_fields import EncryptedDateField, EncryptedField, EncryptedFileField, EncryptedIntegerField
from encrypted_fields.search import Exact
from tests.sample_app.accounts import Account
from tests.sample_app.charts import Chart
from tests.sample_app.filed import Estate, Photo, Receipt
from tests.sample_app.moving import Mover
from tests.sample_app.parcels import Parcel
from tests.sample_app.searchable import Customer, Order, Payroll, PostIt

__all__ = [
    "Account",
    "Chart",
    "Customer",
    "Estate",
    "Mover",
    "Order",
    "Parcel",
    "Payroll",
    "Photo",
    "PostIt",
    "Receipt",
]


class Colour(models.TextChoices):
    RED = "r", "Red"
    BLUE = "b", "Blue"


class Clinic(models.Model):
    slug = models.CharField(max_length=40)


class Patient(models.Model):
    """A key made in Python: its values are bound to their row."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    tenant_id = models.CharField(max_length=40)
    name = models.CharField(max_length=100)
    diagnosis = EncryptedField(models.TextField(blank=True, null=True))
    born = EncryptedField(models.DateField(null=True))
    file_number = EncryptedField(models.IntegerField(null=True))

    cmk_tenant_from = "tenant_id"

    class Meta:
        permissions = (("reveal_patient", "Can reveal encrypted values of patients"),)


class Visit(models.Model):
    """A key made by the database, and the tenant at the end of a path."""

    patient = models.ForeignKey(Patient, models.CASCADE, related_name="visits", null=True)
    clinic = models.ForeignKey(Clinic, models.CASCADE)
    day = models.IntegerField(default=0)
    report = EncryptedField(models.TextField(), tenant_from="clinic__slug")


class Note(models.Model):
    """No tenant of its own: the active one."""

    title = models.CharField(max_length=100, unique=True)
    body = EncryptedField(models.CharField(max_length=20, default="empty"))
    extra = EncryptedField(models.JSONField(null=True))


class Everything(models.Model):
    """A field of each type."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    text = EncryptedField(models.TextField(null=True))
    char = EncryptedField(models.CharField(max_length=50, null=True))
    email = EncryptedField(models.EmailField(null=True))
    slug = EncryptedField(models.SlugField(null=True))
    url = EncryptedField(models.URLField(null=True))
    integer = EncryptedField(models.IntegerField(null=True))
    positive = EncryptedField(models.PositiveIntegerField(null=True))
    small = EncryptedField(models.SmallIntegerField(null=True))
    big = EncryptedField(models.BigIntegerField(null=True))
    flag = EncryptedField(models.BooleanField(null=True))
    decimal = EncryptedField(models.DecimalField(max_digits=8, decimal_places=2, null=True))
    real = EncryptedField(models.FloatField(null=True))
    date = EncryptedField(models.DateField(null=True))
    time = EncryptedField(models.TimeField(null=True))
    moment = EncryptedField(models.DateTimeField(null=True))
    span = EncryptedField(models.DurationField(null=True))
    uuid = EncryptedField(models.UUIDField(null=True))
    json = EncryptedField(models.JSONField(null=True))
    binary = EncryptedField(models.BinaryField(null=True))
    ip = EncryptedField(models.GenericIPAddressField(null=True))
    colour = EncryptedField(models.CharField(max_length=1, choices=Colour.choices, null=True))


class Secret(models.Model):
    """Abstract: the field is bound to the model that inherits it."""

    value = EncryptedField(models.TextField())

    class Meta:
        abstract = True


class Left(Secret):
    pass


class Right(Secret):
    pass


class SpecialPatient(Patient):
    """A child table with an encrypted field of its own."""

    plan = EncryptedField(models.TextField())


class PatientProxy(Patient):
    class Meta:
        proxy = True


class Scan(models.Model):
    """A sealed file, bound to its row."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    tenant_id = models.CharField(max_length=40)
    image = EncryptedFileField(upload_to="scans", tenant_from="tenant_id")


class Called(models.Model):
    """The tenant comes from a function of the row."""

    owner = models.CharField(max_length=40)
    value = EncryptedField(models.TextField(), tenant_from="owner_tenant")

    @property
    def owner_tenant(self) -> str:
        return f"t-{self.owner}"


class Shared(models.Model):
    """Two tenants in one row, each with its own value."""

    seller = models.CharField(max_length=40)
    buyer = models.CharField(max_length=40)
    price = EncryptedField(models.IntegerField(), tenant_from="seller")
    wish = EncryptedField(models.TextField(), tenant_from="buyer")


class Keyed(models.Model):
    """A natural key, made by the client and bound because the field asks for it."""

    code = models.CharField(max_length=20, primary_key=True)
    value = EncryptedField(models.TextField(), bind_row=True)


class Short(models.Model):
    """Fields by their typed names."""

    tenant_id = models.CharField(max_length=40)
    born = EncryptedDateField("date of birth", null=True, tenant_from="tenant_id")
    visits = EncryptedIntegerField(default=0, tenant_from="tenant_id")


class Numbered(models.Model):
    """A key made by the database: one value is bound to it, the other is not."""

    tenant_id = models.CharField(max_length=40, default="north")
    body = EncryptedField(models.TextField(), tenant_from="tenant_id", bind_row=True, index=[Exact()])
    extra = EncryptedField(models.JSONField(null=True), tenant_from="tenant_id")


class Nested(Numbered):
    """Its own value is bound to the key that its parent's table made."""

    deep = EncryptedField(models.TextField(), tenant_from="tenant_id", bind_row=True)


if TYPE_CHECKING:  # the type checker is the test

    def types_are_those_of_the_values(one: Short) -> None:
        assert_type(one.born, datetime.date | None)
        assert_type(one.visits, int)
