"""Run as a program after a soak: what each row's file holds, read by code that knows sealed files only."""

from __future__ import annotations

import json
import os

import django


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.support.moving_settings"
    django.setup()
    from tests.sample_app.parcels import parcel

    found = {}
    for one in parcel("after").objects.all():
        with one.slip.open() as file:
            found[one.pk.int - 1] = file.read().decode()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
