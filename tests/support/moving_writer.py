"""Run as a program: code of two deploys writes to the same table, while `encrypt_existing` works through it.

Arguments: this writer's number, how many there are, how many rows. Each row has one writer, so that it knows what must
be in it at the end. Writes until its standard input closes; then prints what it wrote as JSON, {row: [name, born]}.
"""

from __future__ import annotations

import datetime
import json
import os
import random
import select
import sys
import uuid
from typing import Any

import django


def main(number: int, writers: int, rows: int) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.support.moving_settings"
    django.setup()
    from django.db.models import Case, F, Value, When

    from tests.sample_app.moving import Mover, mover

    random.seed(number)
    new, old = Mover.objects, mover("plaintext").objects
    said: dict[int, Any] = {}
    turn = 0
    print("writing", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        turn += 1
        row = random.randrange(number, rows, writers)
        pk, name = uuid.UUID(int=row + 1), f"{row} by {number} in {turn}"
        born = datetime.date(1900, 1, 1) + datetime.timedelta(days=turn % 30000)
        kind = random.randrange(6)
        if kind == 0:  # whole rows, the new code
            one = new.get(pk=pk)
            one.name, one.born, one.counter = name, born, turn
            one.save()
        elif kind == 1:  # one column, the new code; the other may be on its way at this moment
            one = new.get(pk=pk)
            born = one.born
            one.name = name
            one.save(update_fields=["name"])
        elif kind == 2:
            new.filter(pk=pk).update(name=name, born=born)
        elif kind == 3:
            new.filter(pk=pk).update(name=Case(When(pk=pk, then=Value(name)), default=F("name")), born=None)
            born = None
        elif kind == 4:  # the code of the deploy before: it takes the ciphertext away
            one = old.get(pk=pk)
            one.name, one.born = name, born
            one.save()
        else:
            old.filter(pk=pk).update(name=name, born=born)
        said[row] = [name, None if born is None else born.isoformat()]
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
