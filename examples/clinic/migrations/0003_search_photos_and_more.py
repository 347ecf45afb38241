"""Search by name and phone, photos, private file names, a key of its own for notes; and a city, still in clear."""

from django.db import migrations, models

import encrypted_fields
import encrypted_fields.search


class Migration(migrations.Migration):
    dependencies = [("clinic", "0002_sealed_in_the_browser")]

    operations = [
        migrations.AlterModelOptions(
            name="patient",
            options={
                "ordering": ("reference",),
                "permissions": (("reveal_patient", "Can reveal encrypted values of patients"),),
            },
        ),
        migrations.AddField(
            model_name="patient",
            name="city",
            field=models.CharField(blank=True, default="", max_length=100),
        ),
        migrations.AddField(
            model_name="patient",
            name="name_folded_index",
            field=encrypted_fields.search.IndexColumn(["name"], encrypted_fields.search.Folded()),
        ),
        migrations.AddField(
            model_name="patient",
            name="name_prefix3_index",
            field=encrypted_fields.search.IndexColumn(["name"], encrypted_fields.search.Prefix(3, folded=True)),
        ),
        migrations.AddField(
            model_name="patient",
            name="phone",
            field=encrypted_fields.EncryptedField(
                models.CharField(blank=True, max_length=30, null=True), tenant_from="clinic__name"
            ),
        ),
        migrations.AddField(
            model_name="patient",
            name="phone_last4_index",
            field=encrypted_fields.search.IndexColumn(["phone"], encrypted_fields.search.Last(4)),
        ),
        migrations.AddField(
            model_name="patient",
            name="photo",
            field=encrypted_fields.EncryptedImageField(
                blank=True,
                null=True,
                private_names=True,
                tenant_from="clinic__name",
                unused="delete",
                upload_to="photos",
                url_from="photo_address",
            ),
        ),
        migrations.AlterField(
            model_name="attachment",
            name="file",
            field=encrypted_fields.EncryptedFileField(
                private_names=True,
                tenant_from="patient__clinic__name",
                unused="delete",
                upload_to="attachments",
                url_from="get_absolute_url",
            ),
        ),
        migrations.AlterField(
            model_name="patient",
            name="notes",
            field=encrypted_fields.EncryptedField(
                models.TextField(blank=True), label="health", tenant_from="clinic__name"
            ),
        ),
    ]
