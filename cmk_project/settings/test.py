"""Settings of the test run: every app in one process, on SQLite in memory unless DATABASE_URL says otherwise."""

from __future__ import annotations

import os
import tempfile

os.environ.setdefault("CMK_STAGE", "development")
os.environ.setdefault("SECRET_KEY", "test-only")
os.environ.setdefault("DATABASE_URL", "sqlite:///:memory:")
os.environ.setdefault("CMK_VENDOR", "acme")
os.environ.setdefault("TSP_STATE_DIR", tempfile.mkdtemp(prefix="cmk-test-"))

from cmk_project.settings.tsp import *  # noqa: F403, I001
from cmk_project.settings.broker import *  # noqa: F403
from cmk_project.settings.broker import INSTALLED_APPS

ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [*INSTALLED_APPS, "tsp", "encrypted_fields", "tests.sample_app", "examples.clinic"]
INSTALLED_APPS += ["tests.encrypted_fields.matrix"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # the slow one costs a second a login
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True
LOGGING_CONFIG = None  # pytest's own capture sees every logger
CMK_TSP_URL = "http://127.0.0.1:7777"
CMK_TSP_API_KEY = "dGVzdC1vbmx5LWFwaS1rZXk="
CMK_REQUESTING_ID = "tests"
