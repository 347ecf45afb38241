"""Addresses of the JSON interface."""

from __future__ import annotations

from django.urls import path

from broker.api import proxy

urlpatterns = [
    path("proxy/configs", proxy.Feed.as_view(), name="proxy-configs"),
    path("proxy/status", proxy.Status.as_view(), name="proxy-status"),
]
