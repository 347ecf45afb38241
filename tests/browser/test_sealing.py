"""A tenant's admin seals in a real browser: the proxy can open it, and nothing else ever sees what was typed."""

from __future__ import annotations

import base64
import gzip
import json
import urllib.parse
from datetime import datetime
from typing import Any

import pytest
from django.apps import apps
from django.core import serializers
from playwright.sync_api import Error, Page, expect

from broker import models, services
from broker.models import ConfigVersion, Trail
from tests.browser.conftest import Wire
from tests.browser.portal import BY, Portal, document, portal
from tests.support import canary
from tsp.configs import admission
from tsp.contract.tenant import KmsBody, Leasing
from tsp.unseal import PrivateKeys

pytestmark = pytest.mark.django_db(transaction=True)
ARN = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.fixture
def acme(live_server: Any) -> Portal:
    return portal(live_server.url)


def fill(page: Page, plant: Any) -> dict[str, str]:
    """The AWS form with a canary in every field that can hold one."""
    typed = {"access_key_id": plant("access key id"), "secret_access_key": plant("secret access key")}
    typed["session_token"] = plant("session token") + " +/=ü€"
    page.get_by_label("Name", exact=True).fill("Production key")
    page.get_by_label("Provider").select_option("aws")
    page.get_by_label("Key ARN").fill(ARN)
    page.get_by_label("Region").fill("eu-central-1")
    page.get_by_label("Access key ID").fill(typed["access_key_id"])
    page.get_by_label("Secret access key").fill(typed["secret_access_key"])
    page.get_by_label("Session token").fill(typed["session_token"])
    return typed


def seal(page: Page) -> None:
    page.get_by_label("I have compared the fingerprints").check()
    page.get_by_role("button", name="Seal and send").click()
    expect(page.locator("#step-stored")).to_have_class("done")


def shapes(secret: str) -> list[bytes]:
    """Every way in which a secret may hide in a request (T-1)."""
    raw = secret.encode()
    plain = [raw, secret.encode("utf-16-le"), secret.encode("utf-16-be"), gzip.compress(raw)[10:-8]]
    encoded = [urllib.parse.quote(secret).encode(), urllib.parse.quote_plus(secret).encode(), raw.hex().encode()]
    escaped = [json.dumps(secret)[1:-1].encode(), raw[::-1]]
    # base64 at each of the three alignments, without the letters that its neighbours change
    shifted = [base64.b64encode(b"\0" * by + raw)[4 if by else 0 : -4] for by in range(3)]
    urlsafe = [text.replace(b"+", b"-").replace(b"/", b"_") for text in shifted]
    return plain + encoded + escaped + shifted + urlsafe


def test_seals_what_only_the_proxy_opens(acme: Portal, page: Page, plant: Any) -> None:
    acme.sign_in(page, "kms/")
    typed = fill(page, plant)
    page.get_by_label("Key leasing").check()
    page.get_by_label("Ask again every").fill("120")
    seal(page)
    [record] = acme.proxy.records()
    boxes = acme.proxy.opened(record)
    assert len(boxes) == 2
    for key, data in boxes:
        found = document(data)
        assert found.binding.tsp_key == key
        assert (found.binding.vendor, found.binding.tenant, found.binding.kind) == ("acme", "st-marys", "kms")
        assert (found.binding.config, found.binding.version, found.binding.previous) == (record.config, 1, "")
        assert datetime.fromisoformat(found.binding.created).year >= 2026
        assert isinstance(found.body, KmsBody)
        assert found.body.provider == "aws"
        assert found.body.options == {"key_arn": ARN, "region": "eu-central-1", **typed}
        assert found.body.leasing == Leasing(True, 120, 3600)
        assert found.body.primary is True


def test_lets_no_secret_out_of_the_page(acme: Portal, page: Page, wire: Wire, plant: Any) -> None:
    """T-1: not in a request, not in the database, not left in the page."""
    acme.sign_in(page, "kms/")
    typed = fill(page, plant)
    seal(page)
    kept = [model for model in apps.get_models() if model._meta.managed]  # the others have no table here
    rows = [row for model in kept for row in model._default_manager.all()]
    assert {"broker.configversion", "sessions.session"} <= {row._meta.label_lower for row in rows}
    dump = serializers.serialize("json", rows).encode()
    for secret in typed.values():
        assert not [shape for shape in shapes(secret) if shape in wire.whole or shape in dump]
    assert not canary.leaks_in_bytes(wire.whole)
    for name in ("access_key_id", "secret_access_key", "session_token", "key_arn"):
        assert page.locator(f"#option-{name}").input_value() == ""
    left = page.evaluate("document.documentElement.outerHTML + JSON.stringify({...localStorage, ...sessionStorage})")
    assert not canary.leaks(left)


def test_the_search_for_secrets_would_find_one(acme: Portal, page: Page, wire: Wire, plant: Any) -> None:
    acme.sign_in(page, "kms/")
    secret = plant("a page that leaks")
    page.evaluate("secret => fetch('/nowhere', {method: 'POST', body: 'xy' + btoa('x' + secret)})", secret)
    assert [shape for shape in shapes(secret) if shape in wire.whole]
    wire.complaints.clear()


def test_carries_nothing_in_a_plain_submit(acme: Portal, page: Page, plant: Any) -> None:
    """No input has a name, so a browser whose scripts broke sends nothing of it."""
    acme.sign_in(page, "kms/")
    fill(page, plant)
    assert page.evaluate("[...new FormData(document.getElementById('sealing')).keys()]") == []
    assert page.locator("#sealing [name]").count() == 0


def test_chains_the_next_version_to_the_one_before(acme: Portal, page: Page, plant: Any) -> None:
    acme.sign_in(page, "kms/")
    fill(page, plant)
    seal(page)
    first = ConfigVersion.objects.get()
    page.goto(f"{acme.url}/tenants/{acme.tenant.pk}/kms/")
    expect(page.get_by_text("The same fingerprints as when you last sealed")).to_be_visible()
    page.get_by_label("What is this?").select_option(str(first.config_id))
    page.get_by_label("Provider").select_option("aws")
    for label in ("Key ARN", "Region", "Access key ID", "Secret access key"):
        page.get_by_label(label).fill("renewed")
    page.get_by_role("button", name="Seal and send").click()
    expect(page.locator("#step-stored")).to_have_class("done")
    [record] = acme.proxy.records()
    for _, data in acme.proxy.opened(record):
        assert document(data).binding.previous == first.hash
    assert (record.config, record.version) == (first.config_id, 2)


@pytest.mark.parametrize(
    ("state", "reason", "css", "shown"),
    [
        ("active", "", "done", "Working"),
        ("refused", "kms_refused", "bad", "Your key service refused"),
    ],
)
def test_shows_the_proxys_verdict(
    acme: Portal, page: Page, plant: Any, state: str, reason: str, css: str, shown: str
) -> None:
    acme.sign_in(page, "kms/")
    fill(page, plant)
    seal(page)
    [record] = acme.proxy.records()
    acme.proxy.report(record, state, reason)
    expect(page.locator("#step-proxy")).to_have_class(css)
    expect(page.locator("#proxy-says")).to_have_text(shown)
    page.goto(f"{acme.url}/tenants/{acme.tenant.pk}/")
    expect(page.locator(".badge", has_text=shown)).to_be_visible()


def test_warns_when_the_proxy_keys_are_others_than_last_time(acme: Portal, page: Page, plant: Any) -> None:
    """T-2: a portal that slips in its own key changes the fingerprints."""
    acme.sign_in(page, "kms/")
    fill(page, plant)
    seal(page)
    models.ProxyKey.objects.filter(label="Proxies 2").update(state="retired")
    page.reload()
    expect(page.get_by_text("These are not the fingerprints that you last sealed to")).to_be_visible()
    expect(page.get_by_label("I have compared the fingerprints")).to_be_visible()


def test_refuses_a_key_that_does_not_fit_its_fingerprint(acme: Portal, page: Page, wire: Wire) -> None:
    """T-2: the page computes the fingerprint itself."""
    models.ProxyKey.objects.filter(label="Proxies 2").update(public_key=bytes(range(32)))
    acme.sign_in(page, "kms/")
    expect(page.get_by_role("alert")).to_contain_text("does not fit its fingerprint")
    expect(page.get_by_role("button", name="Seal and send")).to_be_hidden()


def test_tells_why_the_portal_refused_and_keeps_no_secret(acme: Portal, page: Page, wire: Wire, plant: Any) -> None:
    """A proxy key that was registered after the page was loaded has no box."""
    acme.sign_in(page, "kms/")
    fill(page, plant)
    models.ProxyKey.objects.filter(label="Proxies 2").update(state="retired")
    page.get_by_label("I have compared the fingerprints").check()
    page.get_by_role("button", name="Seal and send").click()
    expect(page.get_by_role("alert")).to_contain_text("reload the page and seal again")
    assert page.get_by_label("Secret access key").input_value() == ""
    assert not ConfigVersion.objects.exists()
    assert not Trail.objects.filter(action="config.published").exists()


def test_breaks_no_content_policy(acme: Portal, page: Page, wire: Wire, plant: Any) -> None:
    """T-3: a whole journey without one complaint of the browser, and no request to anybody else."""
    acme.sign_in(page)
    for path in ("", "kms/", "history/", "members/", "activity/"):
        response = page.goto(f"{acme.url}/tenants/{acme.tenant.pk}/{path}")
        assert response is not None
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-inline" not in policy
        assert ("wasm-unsafe-eval" in policy) is (path == "kms/")
    page.goto(f"{acme.url}/tenants/{acme.tenant.pk}/kms/")
    fill(page, plant)
    seal(page)
    assert wire.complaints == []
    assert all(sent.split()[1].startswith(acme.url.encode()) for sent in wire.sent)


def test_runs_no_script_that_is_smuggled_in(acme: Portal, page: Page, wire: Wire) -> None:
    """T-3: markup in a name is shown, not run; and an inline script would be stopped."""
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    models.Tenant.objects.update(title=evil[:100])
    fired: list[str] = []
    page.on("dialog", lambda dialog: (fired.append(dialog.message), dialog.dismiss()))
    acme.sign_in(page, "kms/")
    expect(page.locator(".place")).to_have_text(evil)
    for way in ("main.innerHTML = '<p onclick=alert(3)>'", "main.setAttribute('onclick', 'alert(4)')"):
        with pytest.raises(Error, match="Trusted"):
            page.evaluate(f"() => {{ const main = document.querySelector('main'); {way}; main.click(); }}")
    assert fired == []
    assert wire.complaints


def test_the_proxy_itself_takes_what_the_page_sealed(acme: Portal, page: Page, plant: Any) -> None:
    """T-4, T-5: not only our reading of it, but the proxy's own admission; and not from any other vendor's portal."""
    acme.sign_in(page, "kms/")
    typed = fill(page, plant)
    seal(page)
    [record] = acme.proxy.records()
    for key in acme.proxy.private:
        keys = PrivateKeys.parse(base64.b64encode(bytes(key)).decode())
        body = admission.read(record, [], vendor="acme", keys=keys).body
        assert body.options["secret_access_key"] == typed["secret_access_key"]
        with pytest.raises(admission.Refused, match="config_binding_mismatch"):
            admission.read(record, [], vendor="another", keys=keys)


def test_where_the_vendor_requires_leasing_it_cannot_be_left_out(acme: Portal, page: Page, plant: Any) -> None:
    services.require_leasing(tenant=acme.tenant, required=True, by=BY)
    acme.sign_in(page, "kms/")
    fill(page, plant)
    expect(page.get_by_label("Key leasing")).to_be_checked()
    expect(page.get_by_label("Key leasing")).to_be_disabled()
    expect(page.get_by_text("Acme Health requires leasing")).to_be_visible()
    page.get_by_label("Hold when unreachable").fill("600")
    seal(page)
    [record] = acme.proxy.records()
    body = document(acme.proxy.opened(record)[0][1]).body
    assert isinstance(body, KmsBody)
    assert body.leasing == Leasing(True, 300, 600)
