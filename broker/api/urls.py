"""Addresses of the JSON interface."""

from __future__ import annotations

from django.urls import path, register_converter

from broker.api import proxy, secrets, tenant
from broker.converters import KindConverter, NumberConverter, SecretConverter, StepConverter

register_converter(KindConverter, "kind")
register_converter(NumberConverter, "number")
register_converter(SecretConverter, "secret")
register_converter(StepConverter, "step")

urlpatterns = [
    path("proxy/configs", proxy.Feed.as_view(), name="proxy-configs"),
    path("proxy/status", proxy.Status.as_view(), name="proxy-status"),
    path("proxy/secrets", secrets.Secrets.as_view(), name="proxy-secrets"),
    path("vendors/<uuid:vendor>/secrets", secrets.Backup.as_view(), name="api-backup"),
    path("tenants/<uuid:tenant>/<kind:kind>/form", tenant.Form.as_view(), name="api-form"),
    path("tenants/<uuid:tenant>/<kind:kind>/draft", tenant.Draft.as_view(), name="api-draft"),
    path("tenants/<uuid:tenant>/records", tenant.Records.as_view(), name="api-records"),
    path("tenants/<uuid:tenant>/configs/<number:number>/status", tenant.Status.as_view(), name="api-status"),
]
