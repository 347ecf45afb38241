"""The portal's addresses."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [
    path("api/", include("broker.api.urls")),
]
