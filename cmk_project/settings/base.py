"""What all roles share: place, time, language, logging. Holds no secret and no database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cmk_project import env

BASE_DIR = Path(__file__).resolve().parent.parent.parent

DEBUG = False
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-gb"
USE_I18N = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS: list[str] = ["cmk_project"]

# "production" turns dangerous settings into errors (cmk_project.checks);
# "development" is for one machine and toy tenants
CMK_STAGE = env.text("CMK_STAGE", "production", choices=("production", "development"))
CMK_VENDOR = env.text("CMK_VENDOR", "")

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "cmk_project.logs.AllowListFormatter"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {
        "handlers": ["stderr"],
        "level": env.text("LOG_LEVEL", "INFO", choices=("DEBUG", "INFO", "WARNING", "ERROR")),
    },
    "loggers": {
        # both print request headers or bodies at DEBUG: never below WARNING, whatever LOG_LEVEL says
        name: {"level": "WARNING"}
        for name in ("botocore", "boto3", "urllib3", "httpx", "httpcore", "s3transfer")
    },
}
