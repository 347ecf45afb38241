"""Development on one machine: portal and proxy in one set of settings, SQLite, plain http. Never for real tenants."""

from __future__ import annotations

import os

os.environ.setdefault("CMK_STAGE", "development")
os.environ.setdefault("SECRET_KEY", "development-only-and-public-so-never-use-it-for-real-tenants")

from cmk_project.settings.tsp import *  # noqa: F403, I001
from cmk_project.settings.broker import *  # noqa: F403
from cmk_project.settings.broker import INSTALLED_APPS

DEBUG = True
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]"]
INSTALLED_APPS = [*INSTALLED_APPS, "tsp", "encrypted_fields"]
