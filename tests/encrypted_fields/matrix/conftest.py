"""Three databases at once, each with the tables of the matrix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connections

from tests.encrypted_fields.matrix.models import tables
from tests.support.mariadb import MariaDb
from tests.support.postgres import Postgres

DATABASES = ("sqlite", "postgres", "mariadb")


@pytest.fixture(scope="session")
def _matrix_databases(postgres_server: Postgres, mariadb_server: MariaDb, django_db_blocker: Any) -> Iterator[None]:
    address = urlsplit(postgres_server.database())
    found = {
        "sqlite": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
        "postgres": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": address.path[1:],
            "USER": address.username,
            "HOST": address.hostname,
            "PORT": address.port,
        },
        "mariadb": mariadb_server.database(),
    }
    for name, settings in found.items():
        connections.settings[name] = {**connections.settings["default"], "OPTIONS": {}, **settings}
    with django_db_blocker.unblock():
        for name in DATABASES:
            with connections[name].schema_editor() as editor:
                for model in tables(connections[name].vendor):
                    editor.create_model(model)
    yield
    with django_db_blocker.unblock():
        for name in DATABASES:
            connections[name].close()
            del connections[name], connections.settings[name]


@pytest.fixture
def matrix_databases(_matrix_databases: None, django_db_blocker: Any) -> Iterator[None]:
    """The aliases `sqlite`, `postgres` and `mariadb` of django.db.connections; each test leaves its tables empty."""
    with django_db_blocker.unblock():
        yield
