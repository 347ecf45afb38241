"""The sample clinic's addresses."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import path

from examples.clinic import api, sealed, views

urlpatterns = [
    path("", views.patients, name="patients"),
    path("add/", views.add, name="add"),
    path("patients/<uuid:key>/", views.patient, name="patient"),
    path("patients/<uuid:key>/photo/", views.photo, name="photo"),
    path("patients/<uuid:key>/export/", views.export, name="export"),
    path("api/patients/", api.Patients.as_view(), name="api-patients"),
    path("admin/", admin.site.urls),
    path("attachments/<uuid:key>/", views.attachment, name="attachment"),
    path("key/", sealed.my_key, name="my-key"),
    path("patients/<uuid:key>/seal/", sealed.seal, name="seal"),
    path("patients/<uuid:key>/sealed/", sealed.unseal, name="unseal"),
    path("patients/<uuid:key>/sealed/file/", sealed.sealed_file, name="sealed-file"),
    path("login/", LoginView.as_view(template_name="clinic/login.html"), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
]
