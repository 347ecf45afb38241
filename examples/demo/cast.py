"""Who plays in the demonstration: two clinics, their patients, and what their admins seal."""

from __future__ import annotations

from examples.demo.roles import VENDOR
from examples.demo.stage import Stage

TENANTS = ("north", "south")
TITLES = {"north": "Northside Clinic", "south": "Southside Clinic"}
WITHDRAWN = "Access withdrawn by the customer"
PATIENTS = {
    "north": [
        ("N-1001", "Ada Northwind", "1961-04-12", "Allergic to penicillin."),
        ("N-1002", "Bo Lindqvist", "1987-09-30", ""),
    ],
    "south": [
        ("S-2001", "Carla Southgate", "1974-01-08", "Blood pressure, see letter."),
        ("S-2002", "Dev Okafor", "1999-12-24", ""),
    ],
}
LETTER = b"Dear colleague, thank you for seeing this patient about the results of last week.\n" * 900  # two chunks


def wanted(stage: Stage, public_key: str, password: str) -> dict[str, object]:
    """What the portal is to hold, as examples.demo.portal seeds it."""
    siem = stage.siem
    base = f"http://127.0.0.1:{siem.port}"
    sinks = {
        "north": {"provider": "splunk", "options": {"url": f"{base}/north", "token": siem.hec_token}},
        "south": {"provider": "webhook", "options": {"url": f"{base}/south/hook", "secret": siem.hook_secret}},
    }
    tenants = [
        {
            "name": tenant,
            "title": TITLES[tenant],
            "admin": f"admin@{tenant}.example",
            "key_file": str(stage.key_file(tenant)),
            "leasing": {"enabled": tenant == "north", "renew": 30, "hold": 600},
            "siem": sinks[tenant],
        }
        for tenant in TENANTS
    ]
    people = {"operator": f"operator@{VENDOR}.example", "password": password}
    return {"vendor": VENDOR, "title": "ClinicCloud", "public_key": public_key, "tenants": tenants, **people}
