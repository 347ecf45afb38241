"""An admin with a masked model, for the test client and for Chromium."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

from broker.administration import Administration
from cmk_project.urls import urlpatterns as portal
from encrypted_fields.admin import EncryptedAdmin
from tests.sample_app.models import Patient

site = Administration(name="ward")


@admin.register(Patient, site=site)
class PatientAdmin(EncryptedAdmin, admin.ModelAdmin):
    list_display = ("name", "diagnosis", "born")
    sortable_by = ("name",)
    fields = ("tenant_id", "name", ("diagnosis", "born"), "file_number")


urlpatterns = [path("ward/", site.urls), *portal]
