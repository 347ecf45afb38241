"""Complaint 2 (field-peers): an encrypted e-mail address as the name that people log in with."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import authenticate, backends, checks, forms
from django.contrib.auth.hashers import make_password
from django.core import mail

from encrypted_fields.core.errors import KmsRefused
from encrypted_fields.tenancy import NoTenant, tenant
from encrypted_fields.testing import MemoryTsp, assert_encrypted, counted
from tests.sample_app.accounts import Account

pytestmark = pytest.mark.django_db
PASSWORD = "a-long-password"


@pytest.fixture
def ann(cmk_tsp: MemoryTsp, settings: Any) -> Account:
    settings.AUTH_USER_MODEL = "sample_app.Account"  # Django tells the modules that keep it, and takes it back
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.ModelBackend"]
    settings.CMK_INDEX_KEY_SECONDS = 0
    return Account.objects.create(tenant_id="north", email="Ann@X.example", password=make_password(PASSWORD))


def test_who_logs_in_is_found_by_the_index_of_the_active_tenant(ann: Account, cmk_tsp: MemoryTsp) -> None:
    Account.objects.create(tenant_id="south", email="ann@x.example", password=make_password("another"))
    with tenant("north"):
        with counted(cmk_tsp) as calls:
            assert authenticate(username="ann@x.EXAMPLE", password=PASSWORD) == ann
        assert {one.route for one in calls} == {"derive"}  # no value was opened
        assert authenticate(username="ann@x.example", password="wrong") is None
        assert authenticate(username="bob@x.example", password=PASSWORD) is None
    with tenant("south"):
        assert authenticate(username="ann@x.example", password=PASSWORD) is None
    with pytest.raises(NoTenant):
        authenticate(username="ann@x.example", password=PASSWORD)
    assert_encrypted(ann, "email")


def test_a_customer_who_withdrew_access_lets_nobody_in(ann: Account, cmk_tsp: MemoryTsp) -> None:
    cmk_tsp.revoke("north")
    with tenant("north"), pytest.raises(KmsRefused):
        authenticate(username="ann@x.example", password=PASSWORD)
    assert backends.ModelBackend().get_user(ann.pk) == ann  # a session that is there needs no key


def test_a_forgotten_password_is_mailed_to_the_address_as_it_was_typed_in(ann: Account) -> None:
    with tenant("north"):
        form = forms.PasswordResetForm({"email": "ann@x.example"})
        assert form.is_valid()
        assert [user.email for user in form.get_users("ann@x.example")] == ["Ann@X.example"]
    assert mail.outbox == []


def test_an_address_is_taken_once_a_tenant(ann: Account) -> None:
    again = Account(tenant_id="north", email="ANN@x.example", password="x")
    with pytest.raises(Exception, match="Account with this Email already exists"):
        again.full_clean()


def test_only_the_check_of_a_plain_unique_column_has_to_be_silenced(ann: Account) -> None:
    assert [one.id for one in checks.check_user_model()] == ["auth.E003"]
    assert [one.id for one in Account.check() if one.level >= 30] == []
