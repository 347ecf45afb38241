"""Pictures for tests, made by Pillow."""

from __future__ import annotations

import io

from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image


def picture(width: int, height: int, name: str = "picture.png") -> SimpleUploadedFile:
    data = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(data, "PNG")
    return SimpleUploadedFile(name, data.getvalue(), "image/png")
