"""For the vendor's support: values are masked, and revealing a row is told to the clinic before it is shown."""

from __future__ import annotations

from django.contrib import admin

from encrypted_fields.admin import EncryptedAdmin
from examples.clinic.models import Clinic, Patient


@admin.register(Patient)
class PatientAdmin(EncryptedAdmin, admin.ModelAdmin):
    list_display = ("reference", "clinic", "name", "born")
    sortable_by = ("reference", "clinic")  # what is encrypted has no order in the database
    list_filter = ("clinic",)
    search_fields = ("reference",)
    exclude = ("private_note", "private_file", "photo")


admin.site.register(Clinic)
