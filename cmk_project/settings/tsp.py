"""Settings of the proxy and its workers: keys and addresses. No database, no sessions, no templates."""

from __future__ import annotations

import secrets
import socket
from typing import Any

from cmk_project import env
from cmk_project.settings.base import *  # noqa: F403
from cmk_project.settings.base import BASE_DIR, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "tsp"]
SECRET_KEY = secrets.token_urlsafe(50)  # Django wants one; nothing here signs with it
DATABASES: dict[str, dict[str, Any]] = {}
TEMPLATES: list[dict[str, object]] = []
MIDDLEWARE: list[str] = []

TSP_HOST = env.text("TSP_HOST", "127.0.0.1")
TSP_PORT = env.number("TSP_PORT", 7777, least=0, most=65_535)
TSP_OPS_PORT = env.number("TSP_OPS_PORT", 9000, least=0, most=65_535)
TSP_NAME = env.text("TSP_NAME", socket.gethostname())
TSP_API_KEY = env.secret("TSP_API_KEY", "")
TSP_API_KEY_2 = env.secret("TSP_API_KEY_2", "")
TSP_API_KEYS_FILE = env.text("TSP_API_KEYS_FILE", "")
TSP_RATE_PER_KEY = env.number("TSP_RATE_PER_KEY", 0, least=0, most=1_000_000)
TSP_RATE_PER_TENANT = env.number("TSP_RATE_PER_TENANT", 0, least=0, most=1_000_000)
TSP_UNWRAP_BUDGET = env.number("TSP_UNWRAP_BUDGET", 0, least=0, most=100_000_000)
TSP_PRIVATE_KEYS = env.secret("TSP_PRIVATE_KEYS", "")
TSP_BROKER_URL = env.url("TSP_BROKER_URL", "")
TSP_BROKER_TOKEN = env.secret("TSP_BROKER_TOKEN", "")
TSP_REDIS_URL = env.url("TSP_REDIS_URL", "", schemes=("redis", "rediss", "unix"))
TSP_STATE_DIR = env.text("TSP_STATE_DIR", str(BASE_DIR / "var" / "tsp"))
TSP_EGRESS_ALLOW = env.networks("TSP_EGRESS_ALLOW")
TSP_ALLOW_LOCAL_KMS = env.flag("TSP_ALLOW_LOCAL_KMS", False)
TSP_OTLP_URL = env.url("TSP_OTLP_URL", "")
TSP_TRACE_PERCENT = env.number("TSP_TRACE_PERCENT", 100, least=0, most=100)
TSP_REFRESH_SECONDS = env.number("TSP_REFRESH_SECONDS", 5, least=1, most=300)
