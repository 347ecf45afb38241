"""The test settings with the proxy that the environment names: for programs that run beside a test."""

from __future__ import annotations

import os

from cmk_project.settings.test import *  # noqa: F403
from cmk_project.settings.test import DATABASES

CMK_TSP_URL, CMK_TSP_API_KEY = os.environ["SOAK_TSP_URL"], os.environ["SOAK_TSP_API_KEY"]
CMK_TSP_SECONDS = 30.0  # two cores, and everybody at once
DATABASES["default"]["CONN_HEALTH_CHECKS"] = False
MEDIA_ROOT = os.environ.get("SOAK_MEDIA", "")
