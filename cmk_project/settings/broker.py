"""Settings of the portal: database, sessions, pages. Never has the proxy's private key within reach."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from cmk_project import env
from cmk_project.settings.base import *  # noqa: F403
from cmk_project.settings.base import BASE_DIR, CMK_STAGE, INSTALLED_APPS

for _name in ("TSP_PRIVATE_KEYS", "TSP_PRIVATE_KEYS_FILE"):
    if os.environ.get(_name):
        raise env.SettingError(
            f"{_name} is set in the portal's environment: remove it, "
            "since the portal must not be able to open what it stores"
        )

SECRET_KEY = env.secret("SECRET_KEY")
BROKER_URL = env.url("BROKER_URL", "http://127.0.0.1:8000")
ALLOWED_HOSTS = env.items("ALLOWED_HOSTS", [str(urlsplit(BROKER_URL).hostname)])
DATABASES: dict[str, dict[str, Any]] = {
    "default": env.database("DATABASE_URL", "sqlite:///var/broker.sqlite3", base=BASE_DIR)
}
ROOT_URLCONF = "cmk_project.urls"
WSGI_APPLICATION = "cmk_project.wsgi.application"

INSTALLED_APPS = [
    *INSTALLED_APPS,
    "broker.apps.AdministrationConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "csp",
    "broker",
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
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES: list[dict[str, object]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
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

STATIC_URL = "/static/"
STATIC_ROOT = env.text("STATIC_ROOT", "") or None
STATICFILES_DIRS: list[object] = [BASE_DIR / "static"]
# without a collected folder (one process on one machine) WhiteNoise serves the source folders
WHITENOISE_USE_FINDERS = STATIC_ROOT is None
WHITENOISE_AUTOREFRESH = False

AUTH_USER_MODEL = "broker.User"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"
# JSON only, and whoever is not let in by a view of its own is kept out
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["broker.permissions.Nobody"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["broker.api.parsers.CappedJson"],
    "EXCEPTION_HANDLER": "broker.api.errors.reply",
}
# the portal offers the "local" key service only where the proxy would take it
TSP_ALLOW_LOCAL_KMS = env.flag("TSP_ALLOW_LOCAL_KMS", False)

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

_https = BROKER_URL.startswith("https://")
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 8 * 3600
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _https
CSRF_TRUSTED_ORIGINS = [BROKER_URL]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.flag("TRUST_FORWARDED_PROTO", False) else None
SECURE_HSTS_SECONDS = 31_536_000 if _https and CMK_STAGE == "production" else 0
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024

# No inline script, no foreign host. The pages that seal add 'wasm-unsafe-eval' for libsodium (broker.views.sealing).
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["'none'"],
    }
}
