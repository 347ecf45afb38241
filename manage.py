#!/usr/bin/env python
"""Django's command line. Settings: cmk_project.settings.local unless DJANGO_SETTINGS_MODULE names a role."""

from __future__ import annotations

import os
import sys

from django.core.management import execute_from_command_line


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cmk_project.settings.local")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
