"""The portal for an ASGI server. The proxy is not here: it is no Django view (tsp.app)."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cmk_project.settings.broker")
application = get_asgi_application()
