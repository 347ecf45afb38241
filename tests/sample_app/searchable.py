"""Customers that can be searched, and orders that lead to them."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models

from encrypted_fields import EncryptedField
from encrypted_fields.search import By, Exact, Folded, IndexColumn, Last, Ordered, Prefix, Unique


def digits(value: Any) -> str | None:
    found = "".join(one for one in str(value) if one.isdigit())
    return found or None


class Customer(models.Model):
    """Every capability once, and one over two fields."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    tenant_id = models.CharField(max_length=40)
    email = EncryptedField(models.EmailField(null=True, blank=True), index=[Exact(), Folded()])
    phone = EncryptedField(
        models.CharField(max_length=40, null=True, blank=True), index=[Last(4), By("digits", digits)]
    )
    name = EncryptedField(models.TextField(null=True, blank=True), index=[Prefix(3, folded=True)])
    born = EncryptedField(models.DateField(null=True, blank=True), index=[Exact()])
    city = EncryptedField(models.TextField(null=True, blank=True), index=[Exact(bits=6)])
    login = EncryptedField(models.CharField(max_length=30, null=True, blank=True), index=[Unique(folded=True)])
    number = EncryptedField(models.IntegerField(null=True, blank=True), index=[Unique()])
    name_born = IndexColumn(["name", "born"], Exact())

    cmk_tenant_from = "tenant_id"

    class Meta:
        app_label = "sample_app"


class Order(models.Model):
    """A key made by the database, a tenant at the end of a path."""

    customer = models.ForeignKey(Customer, models.CASCADE, related_name="orders")
    title = models.CharField(max_length=40)
    place = EncryptedField(models.TextField(null=True), tenant_from="customer__tenant_id", index=[Exact()])

    class Meta:
        app_label = "sample_app"


class Memo(models.Model):
    """No tenant of its own: the active one. The index is inherited."""

    topic = EncryptedField(models.CharField(max_length=30, null=True), index=[Exact()])
    body = EncryptedField(models.TextField(null=True))
    topic_body = IndexColumn(["topic", "body"], Exact())

    class Meta:
        abstract = True


class PostIt(Memo):
    class Meta:
        app_label = "sample_app"


class Bed(models.Model):
    """Unique in every way that an index allows."""

    tenant_id = models.CharField(max_length=40)
    ward = models.CharField(max_length=10)
    code = EncryptedField(models.CharField(max_length=10, null=True, blank=True), index=[Exact()])
    room = EncryptedField(models.CharField(max_length=10, null=True, blank=True), index=[Exact()])
    place = EncryptedField(models.IntegerField(null=True, blank=True))
    spot = IndexColumn(["room", "place"], Unique())

    cmk_tenant_from = "tenant_id"

    class Meta:
        app_label = "sample_app"
        unique_together = (("ward", "code_exact_index"),)
        constraints = (models.UniqueConstraint(fields=["ward", "room_exact_index"], name="a_room_once_a_ward"),)


class Payroll(models.Model):
    """What the database may order, and shows the order of."""

    tenant_id = models.CharField(max_length=40)
    salary = EncryptedField(models.IntegerField(null=True), index=[Ordered(), Exact()])
    small = EncryptedField(models.SmallIntegerField(null=True), index=[Ordered()])
    big = EncryptedField(models.BigIntegerField(null=True), index=[Ordered()])
    bonus = EncryptedField(models.DecimalField(max_digits=8, decimal_places=2, null=True), index=[Ordered()])
    since = EncryptedField(models.DateField(null=True), index=[Ordered()])
    seen = EncryptedField(models.DateTimeField(null=True), index=[Ordered()])
    starts = EncryptedField(models.TimeField(null=True), index=[Ordered()])
    lasts = EncryptedField(models.DurationField(null=True), index=[Ordered()])

    cmk_tenant_from = "tenant_id"

    class Meta:
        app_label = "sample_app"
