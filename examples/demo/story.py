"""The main job, step by step, each step with its checks: what a vendor, two tenants and their staff go through."""

from __future__ import annotations

import datetime
import secrets
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from examples.demo.browser import Browser
from examples.demo.cast import LETTER, PATIENTS, TENANTS, TITLES, WITHDRAWN, wanted
from examples.demo.processes import Failed
from examples.demo.roles import Clinic, Portal, Proxy
from examples.demo.show import Screen
from examples.demo.stage import Stage
from tsp.kms.local import create_key_file, set_enabled

_FOUND = TypeVar("_FOUND")


class Story:
    """Tells the main job on a stage. Every `tell` step raises Failed when a check does not hold."""

    def __init__(
        self, stage: Stage, screen: Screen, *, portal_db: str = "", clinic_db: str = "", redis: str = ""
    ) -> None:
        self.stage, self.screen = stage, screen
        self.portal = Portal(stage, portal_db)
        self.proxy = Proxy(stage, self.portal.url, redis)
        self.clinic = Clinic(stage, self.proxy, clinic_db)
        self.password = "demo-" + secrets.token_urlsafe(9)
        self.staff: dict[str, Browser] = {}
        self._pages: dict[str, str] = {}  # tenant → path of the patient with the letter

    def tell(self) -> None:
        self.prepare()
        self.serve()
        self.save_and_read()
        self.look_at_the_database()
        self.look_at_the_events()
        self.withdraw_leased()
        self.withdraw()

    def prepare(self) -> None:
        with self.screen.step("The portal starts; the vendor, two tenants and their sealed configurations are made"):
            self.portal.start()
            for tenant in TENANTS:
                create_key_file(self.stage.key_file(tenant))
            public_key = self.proxy.make_key()
            self.screen.say(f"the proxy's key pair: public half {public_key[:12]}…, private half only with the proxy")
            made = self.portal.ask("seed", wanted(self.stage, public_key, self.password))
            rows = [
                (tenant, TITLES[tenant], f"local key file, {'leased' if tenant == 'north' else '2-level'}", siem)
                for tenant, siem in (("north", "Splunk HEC"), ("south", "signed webhook"))
            ]
            self.screen.table(("tenant", "name", "key", "audit log"), rows)
            held = b"".join(_content(path) for path in self.stage.folder.glob("portal.sqlite3*"))
            for name, secret in self._credentials().items():
                self.screen.check(secret.encode() not in held, f"the portal's database does not hold {name}")
            self._token, self._configs = made["token"], made["configs"]

    def serve(self) -> None:
        with self.screen.step("The proxy starts, fetches the configurations, opens and tests them"):
            self.proxy.start(self._token)
            numbers = [str(number) for kinds in self._configs.values() for number in kinds.values()]
            states = self._until(
                lambda: self.portal.ask("state"),
                lambda found: all(found.get(number, [""])[0] == "active" for number in numbers),
                "the portal shows all four configurations as active",
            )
            self.screen.check(len(states) == 4, "the portal shows all four configurations as active", states)

    def save_and_read(self) -> None:
        with self.screen.step("The sample SaaS starts; staff of both clinics save patients and a file, and read them"):
            self.clinic.start([{"name": t, "title": TITLES[t], "login": t, "password": self.password} for t in TENANTS])
            for tenant in TENANTS:
                self.staff[tenant] = Browser(self.clinic.url)
                self.staff[tenant].sign_in(tenant, self.password)
                self._save(tenant)
                self._check_open(tenant)
                sent = self.staff[tenant].read(self._letter(tenant))
                self.screen.check(sent == LETTER, f"{tenant} reads its file, {len(LETTER):,} bytes, as it was uploaded")
            found = self.staff["north"].page("/?q=ada&order=born")
            right = "Ada Northwind" in found and "Bo Lindqvist" not in found
            self.screen.check(right, "north finds a patient by the first letters of the encrypted name", found[-1500:])
            other = self.staff["north"].page("/")
            self.screen.check("Southgate" not in other and "S-2001" not in other, "north does not see south's patients")

    def look_at_the_database(self) -> None:
        with self.screen.step("The rows as they lie in the SaaS's database"):
            query = "SELECT reference, name, born, length(name) FROM clinic_patient ORDER BY reference"
            rows = self.clinic.rows(query)
            shown = [(reference, _shown(name), _shown(born), f"{size} bytes") for reference, name, born, size in rows]
            self.screen.table(("reference", "name", "born", "a value takes"), shown)
            files = [path for path in self.clinic.folder.rglob("*") if path.is_file()]
            attachments = [path for path in files if "attachments" in path.parts]
            self.screen.table(("file", "begins with"), [(p.name, p.read_bytes()[:32].hex(" ", 4)) for p in attachments])
            for name, secret in self._plaintexts().items():
                found = [path.name for path in files if secret.encode() in _content(path)]
                self.screen.check(not found, f"no file of the SaaS holds {name}", found)

    def look_at_the_events(self) -> None:
        with self.screen.step("The audit events as the tenants' own log servers received them"):
            siem = self.stage.siem
            actions = {"dek.wrap", "dek.unwrap"}
            for tenant in TENANTS:
                promise = f"{tenant}'s log server received wraps and unwraps"
                look = partial(siem.events, tenant)
                events = self._until(look, lambda found: actions <= {event["action"] for event in found}, promise)
                last = [e for action in sorted(actions) for e in events if e["action"] == action][-100:]
                last = sorted(last[:3] + last[-3:], key=lambda event: str(event["id"]))
                self.screen.table(
                    ("time", "tenant", "action", "outcome", "by", "count"),
                    [
                        (
                            e["time"],
                            e["tenant"],
                            e["action"],
                            e["outcome"],
                            e.get("requesting_id", ""),
                            e.get("count", 1),
                        )
                        for e in last
                    ],
                )
                self.screen.check(True, promise)
                self.screen.check({e["tenant"] for e in events} == {tenant}, f"{tenant} received its own events only")
            self.screen.check(siem.turned_away == 0, "every delivery carried the right token or signature")

    def withdraw_leased(self) -> None:
        with self.screen.step("North switches its key off; its lease ends with the next renewal (at most 30 s here)"):
            set_enabled(self.stage.key_file("north"), False)
            started = time.monotonic()
            self._until(
                lambda: self.staff["north"].page("/"), lambda page: WITHDRAWN in page, "north's rows are locked", 90
            )
            self.screen.check(True, f"north's rows are locked after {time.monotonic() - started:.0f} s")
            self._check_open("south")
        with self.screen.step("North switches its key on again"):
            set_enabled(self.stage.key_file("north"), True)
            self._until(
                lambda: self.staff["north"].page("/"),
                lambda page: "Ada Northwind" in page,
                "north's rows open again",
                90,
            )
            self._check_open("north")

    def withdraw(self) -> None:
        with self.screen.step("South switches its key off; without a lease that counts at once"):
            set_enabled(self.stage.key_file("south"), False)
            page = self.staff["south"].page("/")
            self.screen.check(WITHDRAWN in page, f"south's rows are shown as “{WITHDRAWN.lower()}”")
            self.screen.check("Carla Southgate" not in page, "south's rows do not open")
            detail = self.staff["south"].page(self._pages["south"])
            self.screen.check(WITHDRAWN in detail and "Blood pressure" not in detail, "south's details do not open")
            self._check_open("north")
            self._until(
                lambda: self.stage.siem.events("south"),
                lambda found: any(e["outcome"] == "refused" for e in found),
                "south's log server received the refusals",
            )
            self.screen.check(True, "south's log server received the refusals")
        with self.screen.step("Nothing that was kept or logged gives anything away"):
            self._check_nothing_leaked()

    def _save(self, tenant: str) -> None:
        staff = self.staff[tenant]
        for reference, name, born, notes in PATIENTS[tenant]:
            page = staff.submit("/add/", {"reference": reference, "name": name, "born": born, "notes": notes})
            if name not in page:
                raise Failed(f"{tenant} saved {reference}, but the page that follows does not show it:\n{page[-1500:]}")
        self._pages[tenant] = _between(staff.page("/"), 'href="', '"', after="<tbody>")
        staff.submit(self._pages[tenant], {"title": "Letter"}, ("letter.txt", LETTER))

    def _letter(self, tenant: str) -> str:
        return _between(self.staff[tenant].page(self._pages[tenant]), 'href="', '"', after="<h2>Files")

    def _check_open(self, tenant: str) -> None:
        page = self.staff[tenant].page("/")
        for _, name, born, _ in PATIENTS[tenant]:
            day = datetime.date.fromisoformat(born)
            if name not in page or f"{day.day} {day:%B %Y}" not in page:
                raise Failed(f"{tenant}'s list does not show {name}, {day:%B %Y}:\n{page[-1500:]}")
        self.screen.check(True, f"{tenant} reads its patients")

    def _check_nothing_leaked(self) -> None:
        allowed = {self.stage.folder / "tenants", self.stage.folder / "secrets"}
        files = [p for p in self.stage.folder.rglob("*") if p.is_file() and not allowed & set(p.parents)]
        for name, secret in {**self._plaintexts(), **self._credentials()}.items():
            found = [str(path.relative_to(self.stage.folder)) for path in files if secret.encode() in _content(path)]
            self.screen.check(not found, f"no database, spool or log holds {name}", found)

    def _plaintexts(self) -> dict[str, str]:
        return {
            "a patient's name": "Ada Northwind",
            "the other clinic's patient's name": "Carla Southgate",
            "a date of birth": "1961-04-12",
            "a note": "Allergic to penicillin",
            "a line of the file": "thank you for seeing this patient",
        }

    def _credentials(self) -> dict[str, str]:
        return {
            "north's Splunk token": self.stage.siem.hec_token,
            "south's webhook secret": self.stage.siem.hook_secret.removeprefix("whsec_"),
            "the path of north's key": Path(self.stage.key_file("north")).name,
            "the SaaS's API key": self.proxy.api_key,
        }

    def _until(
        self, look: Callable[[], _FOUND], fits: Callable[[_FOUND], bool], promise: str, seconds: float = 40.0
    ) -> _FOUND:
        until = time.monotonic() + seconds
        while True:
            self.stage.check()
            found = look()
            if fits(found):
                return found
            if time.monotonic() > until:
                raise Failed(
                    f"not so after {seconds:.0f} s: {promise}\ninstead: {str(found)[-1500:]}\n{self.stage.tails()}"
                )
            time.sleep(0.3)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # SQLite has just merged and removed its journal
        return b""


def _shown(value: bytes | memoryview) -> str:
    data = bytes(value)
    return f"{data[:4].hex(' ')} … {data[-10:].hex(' ', 2)}"


def _between(text: str, start: str, end: str, *, after: str = "") -> str:
    at = text.index(start, text.index(after)) + len(start)
    return text[at : text.index(end, at)]
