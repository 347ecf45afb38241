"""Running numbers, and the lock that taking one gives: whoever takes the next holds its row until commit."""

from __future__ import annotations

from django.db.models import F

from broker.models import Counter


def hold(name: str, add: int = 0) -> None:
    """Make everybody else who takes or holds this number wait until the transaction ends."""
    # an UPDATE takes the row's lock (on SQLite the database's) and keeps it until commit
    if not Counter.objects.filter(name=name).update(value=F("value") + add):
        Counter.objects.get_or_create(name=name)
        Counter.objects.filter(name=name).update(value=F("value") + add)


def following(name: str) -> int:
    """The next number, from 1."""
    hold(name, add=1)
    return Counter.objects.get(name=name).value


def at_least(name: str, value: int) -> None:
    """No number up to `value` is given from now on."""
    hold(name)
    Counter.objects.filter(name=name, value__lt=value).update(value=value)
