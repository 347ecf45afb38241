"""The table that all deploys share, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connections

from tests.sample_app.moving import TABLE, Mover, found, member
from tests.sample_app.parcels import Parcel, poster
from tests.support.postgres import Postgres


@pytest.fixture(scope="session")
def _moving_databases(postgres_server: Postgres, django_db_blocker: Any) -> Iterator[None]:
    address = urlsplit(postgres_server.database())
    databases = {
        "moving-sqlite": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
        "moving-postgres": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": address.path[1:],
            "USER": address.username,
            "HOST": address.hostname,
            "PORT": address.port,
        },
    }
    for name, settings in databases.items():
        connections.settings[name] = {**connections.settings["default"], "OPTIONS": {}, **settings}
    with django_db_blocker.unblock():
        for name in databases:
            with connections[name].schema_editor() as editor:
                editor.create_model(member("dual"))
                editor.create_model(Mover)
                editor.create_model(found("dual"))
                editor.create_model(Parcel)
                editor.create_model(poster("dual"))
    yield
    with django_db_blocker.unblock():
        for name in databases:
            connections[name].close()
            del connections[name], connections.settings[name]


@pytest.fixture(params=["moving-sqlite", "moving-postgres"])
def database(request: pytest.FixtureRequest, _moving_databases: None, django_db_blocker: Any) -> Iterator[str]:
    """An alias; each test leaves the tables empty."""
    with django_db_blocker.unblock():
        yield request.param
        with connections[request.param].cursor() as cursor:
            for table in (TABLE, Mover._meta.db_table, "sample_app_found", "sample_app_parcel", "sample_app_poster"):
                cursor.execute(f"DELETE FROM {table}")
