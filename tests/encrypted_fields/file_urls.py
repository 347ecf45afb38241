"""Two pages that serve a file, one for each kind of server."""

from __future__ import annotations

import uuid

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponseBase
from django.urls import path

from encrypted_fields.http import aencrypted_response, encrypted_response
from tests.sample_app.models import Scan


@login_not_required
def scan(request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
    return encrypted_response(request, Scan.objects.get(pk=pk).image)


@login_not_required
async def ascan(request: HttpRequest, pk: uuid.UUID) -> HttpResponseBase:
    return await aencrypted_response(request, (await Scan.objects.aget(pk=pk)).image)


urlpatterns = [path("scans/<uuid:pk>/", scan), path("async/<uuid:pk>/", ascan)]
