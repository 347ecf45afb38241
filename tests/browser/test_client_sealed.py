"""The sample SaaS in Chromium, for a doctor's eyes only: what is typed leaves one browser sealed, another opens it."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core import serializers
from nacl.public import PrivateKey
from playwright.sync_api import Browser, Page, expect

from encrypted_fields.testing import MemoryTsp
from examples.clinic import settings as clinic_settings
from examples.clinic.models import Clinic, Patient, Staff
from tests.browser.conftest import Wire
from tests.browser.test_sealing import shapes
from tests.support import client_sealing
from tests.support.fault_proxy import FaultProxy, Faults, fault_proxy

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD, PHRASE = "a-long-password", "correct horse battery"


@pytest.fixture(autouse=True)
def _as_the_clinic(settings: Any, tmp_path: Path) -> Any:
    settings.ROOT_URLCONF = "examples.clinic.urls"
    settings.MEDIA_ROOT = tmp_path / "files"
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": []}]
    settings.LOGIN_URL, settings.LOGIN_REDIRECT_URL, settings.LOGOUT_REDIRECT_URL = "login", "patients", "login"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "encrypted_fields.middleware.CmkMiddleware"]
    settings.CONTENT_SECURITY_POLICY = clinic_settings.CONTENT_SECURITY_POLICY
    settings.CMK_TENANT_FROM_REQUEST = "examples.clinic.tenancy.clinic_of"
    with MemoryTsp() as tsp:
        yield tsp


class World:
    """A clinic with a doctor, a nurse and two patients."""

    def __init__(self, url: str) -> None:
        self.url = url
        clinic = Clinic.objects.create(name="north", title="Northside Clinic")
        for name in ("doctor", "nurse"):
            user = get_user_model().objects.create_user(f"{name}@north.example", PASSWORD)
            Staff.objects.create(user=user, clinic=clinic)
        self.ada, self.bea = (
            Patient.objects.create(clinic=clinic, reference=name, name=name, born="1961-04-12")
            for name in ("N-1", "N-2")
        )

    def sign_in(self, page: Page, name: str, path: str, *, whole: bool = True) -> None:
        """`whole`: with all that belongs to the page."""
        page.context.clear_cookies()
        page.goto(f"{self.url}/login/?next={path}")
        page.locator("#id_username").fill(f"{name}@north.example")
        page.locator("#id_password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click(no_wait_after=not whole)
        expect(page).to_have_url(self.url + path)

    def page_of(self, patient: Patient, page: str) -> str:
        return f"/patients/{patient.pk}/{page}/"

    def give_key(self, name: str = "doctor") -> PrivateKey:
        """A key that was made elsewhere."""
        key = PrivateKey.generate()
        Staff.objects.filter(user__email__startswith=name).update(public_key=bytes(key.public_key))
        return key


@pytest.fixture
def world(live_server: Any) -> World:
    return World(live_server.url)


def make_key(world: World, page: Page, tmp_path: Path, phrase: str = PHRASE) -> Path:
    world.sign_in(page, "doctor", "/key/")
    page.get_by_label("Passphrase").fill(phrase)
    page.get_by_label("The same again").fill(phrase)
    page.get_by_role("button", name="Make a key").click()
    with page.expect_download() as saving:
        page.get_by_role("link", name="Save the key file").click()
    saving.value.save_as(tmp_path / "key.json")
    page.get_by_role("button", name="Use this key").click()
    expect(page.get_by_text("Your key is in use")).to_be_visible()
    return tmp_path / "key.json"


def write(world: World, page: Page, note: str, file: Path | None = None) -> None:
    world.sign_in(page, "nurse", world.page_of(world.ada, "seal"))
    page.get_by_label("Note").fill(note)
    if file is not None:
        page.get_by_label("File").set_input_files(file)
    page.get_by_role("button", name="Seal and save").click()
    expect(page.get_by_text("Sealed and stored")).to_be_visible()


def read(page: Page, key: Path, phrase: str = PHRASE) -> None:
    page.get_by_label("Your key file").set_input_files(key)
    page.get_by_label("Its passphrase").fill(phrase)
    page.get_by_role("button", name="Open in this browser").click()


def test_only_the_doctor_reads_what_the_nurse_wrote(
    world: World, page: Page, wire: Wire, plant: Any, tmp_path: Path
) -> None:
    """Every request is captured: neither note, file, file name, passphrase nor private key left a browser in clear."""
    note, name, phrase = plant("the note") + " – ü€ 漢", "hiv-" + plant("the name") + ".txt", plant("the passphrase")
    text = plant("the content of the file")
    scan = tmp_path / name
    scan.write_text(text * 9000)  # several chunks
    key_file = make_key(world, page, tmp_path, phrase)
    key = client_sealing.key_of_file(key_file.read_text(), phrase)
    assert bytes(Staff.objects.get(public_key__isnull=False).public_key or b"") == bytes(key.public_key)
    write(world, page, note, scan)
    assert page.evaluate("JSON.stringify({...sessionStorage})") == "{}"

    world.sign_in(page, "doctor", world.page_of(world.ada, "sealed"))
    read(page, key_file, phrase)
    expect(page.get_by_text(note)).to_be_visible()
    with page.expect_download() as saving:
        page.get_by_role("link", name=name).click()
    saving.value.save_as(tmp_path / "opened.txt")
    assert (tmp_path / "opened.txt").read_bytes() == scan.read_bytes()

    row = Patient.objects.get(pk=world.ada.pk)
    stored = serializers.serialize("json", Patient.objects.all()).encode() + row.private_file.open().read()
    row.private_file.close()
    private = base64.b64encode(bytes(key)).decode()
    for secret in (note, name, phrase, text, private):
        assert not [shape for shape in shapes(secret) if shape in wire.whole or shape in stored]
    assert wire.complaints == []
    assert all(sent.split()[1].startswith((world.url.encode(), b"blob:")) for sent in wire.sent)


def test_the_search_would_find_it(world: World, page: Page, wire: Wire, plant: Any) -> None:
    """The ordinary notes of the sample go to the server in clear, and the capture sees that."""
    world.sign_in(page, "nurse", "/add/")
    secret = plant("an ordinary note")
    for name, value in (("reference", "N-9"), ("name", "Cy"), ("born", "1990-01-01"), ("notes", secret)):
        page.locator(f"#id_{name}").fill(value)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("N-9", exact=True)).to_be_visible()
    assert [shape for shape in shapes(secret) if shape in wire.whole]


def test_an_independent_implementation_opens_what_the_browser_sealed(
    world: World, page: Page, tmp_path: Path, wire: Wire
) -> None:
    key, other = world.give_key(), world.give_key("nurse")
    scan = tmp_path / "scan.txt"
    for size in (0, 65536, 2 * 65536 + 5):
        scan.write_bytes(bytes(size))
        write(world, page, f"note {size}", scan)
        row = Patient.objects.get(pk=world.ada.pk)
        place = base64.b64decode(row.get_private_note_place())
        for reader in (key, other):
            assert client_sealing.unseal(row.private_note, reader, place).data == f"note {size}".encode()
        with row.private_file.open() as file:
            sealed = file.read()
        found = client_sealing.unseal(sealed, key, base64.b64decode(row.get_private_file_place()))
        assert (found.data, found.name, found.bound) == (bytes(size), "scan.txt", True)
        assert row.private_file.shape.size == size
    assert wire.complaints == []


def test_the_browser_opens_what_an_independent_implementation_sealed(
    world: World, page: Page, tmp_path: Path, wire: Wire
) -> None:
    key, other = world.give_key(), PrivateKey.generate()
    row = Patient.objects.get(pk=world.ada.pk)
    place = base64.b64decode(row._meta.get_field("private_note").place(row, bound=True))
    row.private_note = client_sealing.seal("häé".encode(), [key, other], place)
    row.save()
    world.sign_in(page, "doctor", world.page_of(world.ada, "sealed"))
    page.get_by_text("I have the private key as text").click()
    page.get_by_label("Private key", exact=True).fill(base64.b64encode(bytes(key)).decode())
    page.get_by_role("button", name="Open in this browser").click()
    expect(page.get_by_text("häé")).to_be_visible()
    assert wire.complaints == []


def test_says_why_it_does_not_open(world: World, page: Page, tmp_path: Path) -> None:
    key_file = make_key(world, page, tmp_path)
    write(world, page, "for Ada")
    note = Patient.objects.get(pk=world.ada.pk).private_note
    Patient.objects.filter(pk=world.bea.pk).update(private_note=note)
    page.goto(world.url + world.page_of(world.ada, "sealed"))
    trouble = page.get_by_role("alert")
    read(page, key_file, "a wrong passphrase")
    expect(trouble).to_contain_text("does not open this key file")
    page.get_by_text("I have the private key as text").click()
    page.get_by_label("Private key", exact=True).fill("nonsense")
    page.get_by_label("Your key file").set_input_files([])
    page.get_by_role("button", name="Open in this browser").click()
    expect(trouble).to_contain_text("32 bytes in base64")
    page.get_by_label("Private key", exact=True).fill(base64.b64encode(bytes(PrivateKey.generate())).decode())
    page.get_by_role("button", name="Open in this browser").click()
    expect(trouble).to_contain_text("not sealed for your key")
    page.goto(world.url + world.page_of(world.bea, "sealed"))  # moved to another row
    read(page, key_file)
    expect(trouble).to_contain_text("changed, moved")
    flipped = bytearray(note)
    flipped[-1] ^= 1
    Patient.objects.filter(pk=world.ada.pk).update(private_note=bytes(flipped))
    page.goto(world.url + world.page_of(world.ada, "sealed"))
    read(page, key_file)
    expect(trouble).to_contain_text("changed, moved")


def test_nothing_of_it_is_in_a_plain_submit(world: World, page: Page, plant: Any) -> None:
    """A browser whose scripts broke, or that has none, sends neither note nor file."""
    world.give_key()
    world.sign_in(page, "nurse", world.page_of(world.ada, "seal"))
    page.get_by_label("Note").fill(plant("typed without script"))
    assert (
        page.evaluate("[...document.querySelectorAll('.cmk-seal textarea, .cmk-seal input')].filter(i => i.name)") == []
    )
    names = page.evaluate("[...new FormData(document.querySelector('main form')).keys()]")
    assert names == ["csrfmiddlewaretoken"]


def test_without_script_nothing_is_stored(world: World, browser: Browser, plant: Any) -> None:
    world.give_key()
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    wire = Wire()
    page.on("request", wire.note)
    world.sign_in(page, "nurse", world.page_of(world.ada, "seal"))
    secret = plant("typed where there is no script")
    expect(page.get_by_text("Without JavaScript nothing can be typed here").first).to_be_visible()
    expect(page.get_by_role("button", name="Seal and save")).to_be_disabled()
    page.evaluate("for (const one of document.querySelectorAll('[data-cmk-waits]')) one.disabled = false")
    page.get_by_label("Note").fill(secret)  # and even so
    page.get_by_role("button", name="Seal and save").click()
    expect(page.get_by_text("Nothing sealed has come, so nothing was stored")).to_be_visible()
    expect(page.get_by_text("Sealed and stored")).to_have_count(0)
    assert not [shape for shape in shapes(secret) if shape in wire.whole]
    assert Patient.objects.get(pk=world.ada.pk).private_note is None
    for path in ("/key/", world.page_of(world.ada, "sealed")):
        page.goto(world.url + path)
        expect(page.get_by_text("It needs JavaScript")).to_be_visible()
        assert page.locator("main button:visible:enabled").count() == 0
    context.close()


@pytest.fixture
def slow(world: World) -> Iterator[FaultProxy]:
    """Between the browser and its server."""
    with fault_proxy(int(world.url.rsplit(":")[-1])) as proxy:
        world.url = f"http://127.0.0.1:{proxy.port}"
        yield proxy


@pytest.mark.parametrize("script", ["js/seal.js", "libsodium-wrappers.js"])
def test_nobody_can_type_or_submit_before_the_script_is_there(
    world: World, page: Page, settings: Any, slow: FaultProxy, script: str
) -> None:
    """What was typed before would be lost, and the page would have said that it is stored."""
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    world.give_key()
    note, button = page.get_by_label("Note"), page.get_by_role("button", name="Seal and save")
    moment = page.get_by_text("A moment: the script that seals")
    with slow.told(Faults(hold_reply_to=script.encode())):
        world.sign_in(page, "nurse", world.page_of(world.ada, "seal"), whole=False)
        expect(moment.first).to_be_visible()
        for control in (note, page.get_by_label("File"), button):
            expect(control).to_be_disabled()
        note.press_sequentially("typed too early")
        page.keyboard.press("Enter")
        button.click(force=True)
    expect(button).to_be_enabled()
    expect(page).to_have_url(world.url + world.page_of(world.ada, "seal"))
    expect(note).to_have_value("")
    expect(moment.first).to_be_hidden()
    note.fill("in time")
    button.click()
    expect(page.get_by_text("Sealed and stored")).to_be_visible()
    assert Patient.objects.get(pk=world.ada.pk).private_note is not None


def test_says_so_when_the_script_does_not_come_whole(world: World, page: Page, settings: Any, slow: FaultProxy) -> None:
    settings.ALLOWED_HOSTS = ["127.0.0.1"]
    world.give_key()
    world.sign_in(page, "nurse", "/")
    with slow.told(Faults(cut_reply_to=b"libsodium-wrappers.js")):
        for path in (world.page_of(world.ada, "seal"), "/key/", world.page_of(world.ada, "sealed")):
            page.goto(world.url + path)
            expect(page.get_by_text("did not come whole").first).to_be_visible()
            assert page.locator("main button:visible:enabled").count() == 0
            assert page.locator(".fields input:visible:enabled").count() == 0


def test_says_what_was_saved(world: World, page: Page) -> None:
    """Nothing typed stores nothing and says so; what is removed is not called sealed."""
    world.give_key()
    write(world, page, "a note")
    page.goto(world.url + world.page_of(world.ada, "seal"))
    page.get_by_role("button", name="Seal and save").click()
    expect(page.get_by_text("nothing was stored")).to_be_visible()
    assert Patient.objects.get(pk=world.ada.pk).private_note is not None
    page.get_by_label("Remove it").check()
    page.get_by_role("button", name="Seal and save").click()
    expect(page.get_by_text("Removed.")).to_be_visible()
    assert Patient.objects.get(pk=world.ada.pk).private_note is None


def test_warns_when_a_readers_key_is_another_one(world: World, page: Page, wire: Wire) -> None:
    """A server that slips in a key of its own changes the fingerprint."""
    world.give_key()
    write(world, page, "first")
    world.give_key()
    page.goto(world.url + world.page_of(world.ada, "seal"))
    warning = page.get_by_text("A key is another one")
    expect(warning.first).to_be_visible()
    page.get_by_label("Note").fill("second")
    page.get_by_role("button", name="Seal and save").click()
    expect(page.get_by_text("Confirm the changed key first")).to_be_visible()
    assert page.get_by_label("Note").input_value() == "second"
    page.get_by_label("A key is another one").first.check()
    page.get_by_role("button", name="Seal and save").click()
    expect(page.get_by_text("Sealed and stored")).to_be_visible()


def test_refuses_a_key_that_does_not_fit_its_fingerprint(world: World, page: Page, wire: Wire) -> None:
    world.give_key()
    world.sign_in(page, "nurse", world.page_of(world.ada, "seal"))
    page.evaluate(
        """key => { for (const field of document.querySelectorAll("[data-cmk-seal]")) {
            const listed = JSON.parse(field.dataset.recipients);
            field.dataset.recipients = JSON.stringify(listed.map(one => ({...one, key})));
        } }""",
        base64.b64encode(bytes(32)).decode(),
    )
    page.get_by_label("Note").fill("not for everybody")
    page.get_by_role("button", name="Seal and save").click()
    expect(page.get_by_text("does not fit its fingerprint")).to_be_visible()
    assert not [sent for sent in wire.sent if sent.startswith(b"POST") and b"/login/" not in sent.split()[1]]


@pytest.mark.parametrize("width", [1280, 375])
def test_fits_the_screen(world: World, page: Page, wire: Wire, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    world.give_key()
    write(world, page, "a note")
    for path in ("/key/", *(world.page_of(world.ada, name) for name in ("seal", "sealed"))):
        page.goto(world.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert wire.complaints == []
    assert re.fullmatch("[0-9a-f]{32}", Patient.objects.get(pk=world.ada.pk).private_note.recipients[0])
