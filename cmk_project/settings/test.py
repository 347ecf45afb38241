"""Settings of the test run: every app in one process, on SQLite unless DATABASE_URL says otherwise."""

SECRET_KEY = "test-only"  # noqa: S105
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
INSTALLED_APPS: list[str] = []
