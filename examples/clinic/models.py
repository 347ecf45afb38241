"""A clinic is a tenant. Its patients' names, birth dates, notes and files are encrypted under the clinic's own key.
What is for the doctors' eyes only is sealed in the browser, and not even this program can read it."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.urls import reverse

from encrypted_fields import (
    ClientSealedField,
    ClientSealedFileField,
    EncryptedDateField,
    EncryptedField,
    EncryptedFileField,
    EncryptedImageField,
    PlaintextField,
    Recipient,
)
from encrypted_fields.search import Folded, Last, Prefix


class Clinic(models.Model):
    """`name` is the tenant's name at the proxy; `title` is what people read."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=64, unique=True)
    title = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.title


class Staff(models.Model):
    """Who works at which clinic. A doctor has a key pair, whose private half never comes here."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.CASCADE, related_name="staff")
    clinic = models.ForeignKey(Clinic, models.CASCADE)
    public_key = models.BinaryField(null=True)

    def __str__(self) -> str:
        return f"{self.user} at {self.clinic}"


class Patient(models.Model):
    """The reference number is in clear, the person behind it is not. Staff search by name and by the end of a phone
    number all the same. What is in `notes` has a key of its own, which the front desk does not get (settings). `city`
    was in clear in the first version of this program and is on its way (docs/moving.md)."""

    cmk_tenant_from = "clinic__name"  # whose key: the row says so, whoever is signed in

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    clinic = models.ForeignKey(Clinic, models.CASCADE)
    reference = models.CharField(max_length=20)
    name = EncryptedField(models.CharField(max_length=200), index=[Folded(), Prefix(3, folded=True)])
    born = EncryptedDateField("date of birth")
    phone = EncryptedField(models.CharField(max_length=30, blank=True, null=True), index=[Last(4)])
    city_plain = PlaintextField(models.CharField(max_length=100, blank=True, default="", db_column="city"))
    city = EncryptedField(
        models.CharField(max_length=100, blank=True, default="", db_column="city_encrypted"),
        plaintext="city_plain",
        state="readable",
    )
    notes = EncryptedField(models.TextField(blank=True), label="health")
    photo = EncryptedImageField(
        upload_to="photos", private_names=True, unused="delete", url_from="photo_address", null=True, blank=True
    )
    private_note = ClientSealedField("note", recipients="doctors", bind_row=True, null=True, blank=True)
    private_file = ClientSealedFileField(
        "file", recipients="doctors", bind_row=True, upload_to="sealed", unused="delete", null=True, blank=True
    )
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("reference",)
        constraints = (models.UniqueConstraint(fields=["clinic", "reference"], name="reference_once_a_clinic"),)
        permissions = (("reveal_patient", "Can reveal encrypted values of patients"),)

    def __str__(self) -> str:
        return self.reference

    def photo_address(self) -> str:
        return reverse("photo", args=[self.pk])

    def doctors(self) -> list[Recipient]:
        """Those of the clinic who have made themselves a key."""
        staff = Staff.objects.filter(clinic=self.clinic_id, public_key__isnull=False).select_related("user")
        return [Recipient(one.user.get_username(), bytes(one.public_key or b"")) for one in staff]


class Attachment(models.Model):
    """A letter, a scan, a picture of a patient."""

    cmk_tenant_from = "patient__clinic__name"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    patient = models.ForeignKey(Patient, models.CASCADE, related_name="attachments")
    title = models.CharField(max_length=100)
    file = EncryptedFileField(upload_to="attachments", private_names=True, unused="delete", url_from="get_absolute_url")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("created",)

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("attachment", args=[self.pk])
