"""The city, in clear so far, gets an encrypted column beside it (docs/moving.md). `encrypt_existing` fills it."""

from django.db import migrations, models

from encrypted_fields import EncryptedField, PlaintextField
from encrypted_fields.operations import EncryptField


class Migration(migrations.Migration):
    dependencies = [("clinic", "0003_search_photos_and_more")]

    operations = [
        EncryptField(
            "patient",
            "city",
            EncryptedField(
                models.CharField(max_length=100, blank=True, default="", db_column="city_encrypted"),
                plaintext="city_plain",
                state="readable",
                tenant_from="clinic__name",
            ),
            PlaintextField(models.CharField(max_length=100, blank=True, default="", db_column="city")),
        ),
    ]
