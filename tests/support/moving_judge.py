"""Run as a program after a soak: compares every row, opened from its ciphertext, with what was written last.

Arguments: the file of what the writers wrote, the number of rows. Prints {"lost", "doubled", "left"}.
"""

from __future__ import annotations

import datetime
import json
import os
import sys
from pathlib import Path
from typing import Any

import django

START = datetime.date(1980, 1, 1)


def main(file: str, rows: int) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.support.moving_settings"
    django.setup()
    from django.db.models import Q

    from tests.sample_app.moving import Mover, mover

    said = {int(row): value for row, value in json.loads(Path(file).read_text()).items()}
    lost = doubled = seen = 0
    for one in mover("after").objects.order_by("id").iterator():
        seen += 1
        n = one.id.int
        name, born = said.get(n - 1) or [f"row {n}", _born(n)]
        lost += (one.name, None if one.born is None else one.born.isoformat()) != (name, born)
        doubled += not isinstance(one.name, str) or "CMK" in one.name
    clear = {one.pk: (one.name_plain, one.born_plain) for one in Mover.objects.defer("name", "born").iterator()}
    for one in mover("after").objects.only("name", "born").iterator():
        lost += clear[one.pk] != (one.name, one.born)
    left: Any = Q(name_encrypted__isnull=True) | Q(born_encrypted__isnull=True, born__isnull=False)
    waiting = mover("raw").objects.filter(left).count()
    print(json.dumps({"lost": lost + rows - seen, "doubled": doubled, "left": waiting}))


def _born(n: int) -> str | None:
    return None if n % 3 == 0 else (START + datetime.timedelta(days=n % 9000)).isoformat()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
