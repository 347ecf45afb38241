"""Makes clinics and their staff from JSON on standard input; no patients, those are for people to add."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand

from examples.clinic.models import Clinic, Staff


class Command(BaseCommand):
    help = 'Reads [{"name": "north", "title": "…", "login": "…", "password": "…"}, …] from standard input.'

    def handle(self, *args: Any, **options: Any) -> None:
        for one in json.load(sys.stdin):
            clinic, _ = Clinic.objects.get_or_create(name=one["name"], defaults={"title": one["title"]})
            user, made = User.objects.get_or_create(username=one["login"])
            if made:
                user.set_password(one["password"])
                user.save()
                Staff.objects.create(user=user, clinic=clinic)
