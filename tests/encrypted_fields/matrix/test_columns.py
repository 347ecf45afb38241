"""The column of every type is the database's largest binary one, whatever the inner field would have had."""

from __future__ import annotations

import pytest
from django.db import connections
from django.db.transaction import atomic, set_rollback

from encrypted_fields.testing import MemoryTsp, assert_encrypted
from tests.encrypted_fields.matrix.conftest import DATABASES
from tests.encrypted_fields.matrix.models import SHAPES

pytestmark = pytest.mark.usefixtures("matrix_databases")
TYPES_OF = {"sqlite": "blob", "postgres": "bytea", "mariadb": "longblob"}


@pytest.mark.parametrize("database", DATABASES)
def test_every_type_has_a_binary_column(database: str) -> None:
    connection = connections[database]
    for name, (_, sealed) in SHAPES["uuid"].items():
        table = sealed.row._meta.db_table
        with connection.cursor() as cursor:
            if database == "sqlite":
                cursor.execute("SELECT type FROM pragma_table_info(%s) WHERE name = %s", [table, name])
            else:
                cursor.execute(
                    "SELECT data_type FROM information_schema.columns WHERE table_name = %s AND column_name = %s",
                    [table, name],
                )
            assert cursor.fetchone()[0].lower() == TYPES_OF[database], name


@pytest.mark.parametrize("database", DATABASES)
def test_takes_more_than_a_short_blob_would(cmk_tsp: MemoryTsp, database: str) -> None:
    """MySQL's BLOB ends at 64 KiB, a VARCHAR at its length."""
    text, row = "ü" * 300_000, SHAPES["uuid"]["text"][1].row
    with atomic(using=database):
        made = row.objects.using(database).create(text=text, char="c" * 50)
        assert_encrypted(made, "text")
        found = row.objects.using(database).get()
        assert found.text == text
        found.text = text[:-1]
        row.objects.using(database).bulk_update([found], ["text"])
        assert len(row.objects.using(database).values_list("text", flat=True).get()) == 299_999
        set_rollback(True, using=database)
