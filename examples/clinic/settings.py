"""Settings of the sample clinic: an ordinary Django project with `encrypted_fields` added."""

from __future__ import annotations

import os
from pathlib import Path

from cmk_project import env

STATE = Path(env.text("CLINIC_STATE", "var/clinic"))
SECRET_KEY = env.secret("SECRET_KEY", "development-only")
DEBUG = False
ALLOWED_HOSTS = env.items("ALLOWED_HOSTS", ["127.0.0.1", "localhost"])
CSRF_TRUSTED_ORIGINS = env.items("CSRF_TRUSTED_ORIGINS")
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-gb"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "csp",
    "rest_framework",
    "encrypted_fields",
    "examples.clinic",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "encrypted_fields.middleware.CmkMiddleware",
    "examples.clinic.outage.OutagePage",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "examples.clinic.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {"default": env.database("DATABASE_URL", f"sqlite:///{STATE}/clinic.sqlite3", base=Path.cwd())}
MEDIA_ROOT = STATE / "files"
STATIC_URL = "/static/"
STATICFILES_DIRS = [("vendor", Path(__file__).resolve().parents[2] / "static" / "vendor")]  # libsodium
STATIC_ROOT = env.text("STATIC_ROOT", "") or None
WHITENOISE_USE_FINDERS = STATIC_ROOT is None
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "patients"
LOGOUT_REDIRECT_URL = "login"
SESSION_COOKIE_NAME = "clinic_session"  # cookies do not tell ports apart: the portal on this machine has its own
CSRF_COOKIE_NAME = "clinic_csrf"
# No inline script, no foreign host; 'wasm-unsafe-eval' lets libsodium be compiled, for what is sealed in the browser.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'", "'wasm-unsafe-eval'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["'none'"],
    }
}
DEFAULT_EXCEPTION_REPORTER_FILTER = "encrypted_fields.debug.EncryptedReporterFilter"
DEFAULT_EXCEPTION_REPORTER = "encrypted_fields.debug.EncryptedReporter"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "cmk_project.logs.AllowListFormatter"}},
    "filters": {"encrypted": {"()": "encrypted_fields.logs.RedactEncrypted"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "filters": ["encrypted"]}},
    "root": {"handlers": ["stderr"], "level": os.environ.get("LOG_LEVEL", "INFO")},
}

# what an adopter adds: where the proxy is, the key to call it, and this service's name in the tenants' audit trails
CMK_TSP_URL = env.url("CMK_TSP_URL", "http://127.0.0.1:7777")
CMK_TSP_API_KEY = env.secret("CMK_TSP_API_KEY", "")
CMK_REQUESTING_ID = env.text("CMK_REQUESTING_ID", "clinic-web")
CMK_TSP_ALLOW_HTTP = env.flag("CMK_TSP_ALLOW_HTTP", False)
CMK_TENANT_FROM_REQUEST = "examples.clinic.tenancy.clinic_of"
CMK_REQUESTING_ID_FROM_REQUEST = "examples.clinic.tenancy.person_of"
CMK_REASON_FROM_REQUEST = "examples.clinic.tenancy.reason_of"
CMK_POLICY_TABLE = [
    {"refuse": "the front desk does not read medical notes", "action": "decrypt", "label": "health", "user": "desk*"},
]
# nothing in clear on the way: uploads, and error pages above
FILE_UPLOAD_HANDLERS = [
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "encrypted_fields.uploads.SealedUploadHandler",
]
