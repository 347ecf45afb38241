"""`EncryptedImageField`: an encrypted file that is a picture. Width and height come from the plaintext (Pillow)."""

from __future__ import annotations

from typing import Any

from django.core.files.images import ImageFile, get_image_dimensions
from django.db import models
from django.db.models.fields.files import ImageFileDescriptor

from encrypted_fields.fields.fieldfile import EncryptedFieldFile
from encrypted_fields.fields.file import EncryptedFileDescriptor, EncryptedFileField


class EncryptedImageDescriptor(ImageFileDescriptor, EncryptedFileDescriptor):
    """Both at once: sealed anew for another row, and measured when it is assigned."""


class EncryptedImageFieldFile(ImageFile, EncryptedFieldFile):
    """`width` and `height` open the file, unless it was measured when it was saved."""

    def _set_instance_attribute(self, name: str | None, content: Any) -> None:
        super()._set_instance_attribute(name, content)
        self.__dict__.pop("_dimensions_cache", None)
        if self.field.width_field or self.field.height_field:  # while the plaintext is at hand
            self._dimensions_cache = get_image_dimensions(content)
            self.field.update_dimension_fields(self.instance, force=True)

    def delete(self, save: bool = True) -> None:
        self.__dict__.pop("_dimensions_cache", None)
        super().delete(save)


class EncryptedImageField(EncryptedFileField, models.ImageField):
    """EncryptedFileField with `width_field` and `height_field`. These two columns are in clear."""

    attr_class = EncryptedImageFieldFile  # type: ignore[assignment] # Django's own is a sibling of it
    descriptor_class = EncryptedImageDescriptor

    def update_dimension_fields(self, instance: models.Model, force: bool = False, *args: Any, **kwargs: Any) -> None:
        """As Django's, but a stored file is never opened for it: loading a row asks for no key."""
        if self.attname in instance.__dict__:
            file = getattr(instance, self.attname)
            if file and file._committed and not hasattr(file, "_dimensions_cache"):
                return
        super().update_dimension_fields(instance, force, *args, **kwargs)
