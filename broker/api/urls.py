"""Addresses of the JSON interface."""

from __future__ import annotations

from django.urls import path, register_converter

from broker.api import proxy, tenant
from broker.converters import KindConverter, NumberConverter

register_converter(KindConverter, "kind")
register_converter(NumberConverter, "number")

urlpatterns = [
    path("proxy/configs", proxy.Feed.as_view(), name="proxy-configs"),
    path("proxy/status", proxy.Status.as_view(), name="proxy-status"),
    path("tenants/<uuid:tenant>/<kind:kind>/form", tenant.Form.as_view(), name="api-form"),
    path("tenants/<uuid:tenant>/<kind:kind>/draft", tenant.Draft.as_view(), name="api-draft"),
    path("tenants/<uuid:tenant>/records", tenant.Records.as_view(), name="api-records"),
    path("tenants/<uuid:tenant>/configs/<number:number>/status", tenant.Status.as_view(), name="api-status"),
]
