"""Run as a program: code of three deploys gives rows other files, and saves rows that it has held for a while.

Argument: how many rows there are. Writes until its standard input closes; then prints {row: what its file holds}.
"""

from __future__ import annotations

import json
import os
import random
import select
import sys
import time
import uuid

import django


def main(rows: int) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.support.moving_settings"
    django.setup()
    from django.core.files.base import ContentFile

    from tests.sample_app.parcels import parcel

    random.seed(1)
    codes = [parcel(state) for state in ("dual", "readable", "encrypted")]
    said: dict[int, str] = {}
    held = list[object]()
    turn = 0
    print("writing", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        turn += 1
        row, model = random.randrange(rows), random.choice(codes)
        one = model.objects.get(pk=uuid.UUID(int=row + 1))
        if turn % 2:
            said[row] = f"{row} in {turn}"
            one.slip = ContentFile(said[row].encode(), f"{turn}.txt")
            one.save()
        else:
            held.append(one)
            if len(held) > 20:  # loaded long ago; only its note is another one
                late = held.pop(0)
                late.note += "."  # type: ignore[attr-defined]
                late.save()  # type: ignore[attr-defined]
        time.sleep(0.01)
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
