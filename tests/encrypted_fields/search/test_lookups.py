"""What an index answers, whose index it is, and that it answers nothing else."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from django.core.exceptions import FieldError
from django.db import IntegrityError
from django.db.models import Case, Count, Exists, F, OuterRef, Q, Value, When
from django.db.transaction import atomic

from encrypted_fields import NoTenant, TenantConflict, index_keys, tenant
from encrypted_fields.core.errors import KmsRefused
from encrypted_fields.testing import MemoryTsp, counted, stored_bytes
from tests.sample_app.searchable import Customer, Order, PostIt

pytestmark = pytest.mark.django_db
BORN = datetime.date(1990, 5, 17)


@pytest.fixture
def ann(cmk_tsp: MemoryTsp) -> Customer:
    for number, name in enumerate(("Smith", "SMITHERS", "Jones")):
        Customer.objects.create(
            tenant_id="north", email=f"{name}@x.org", phone=f"+49 (151) 20{number}", name=name, born=BORN, number=number
        )
    Customer.objects.create(tenant_id="south", email="Ann@x.org", phone="0", name="Ann", born=BORN, number=0)
    return Customer.objects.create(
        tenant_id="north", email="Ann@x.org", phone="+49 151 2345", name="Ann", born=None, city="Kiel", login="Änn"
    )


def found(**asked: Any) -> set[str]:
    return set(Customer.objects.filter(**asked).values_list("email", flat=True))


def test_each_index_answers_its_own_question(ann: Customer) -> None:
    with tenant("north"):
        assert found(email="Ann@x.org") == {"Ann@x.org"}
        assert found(email="ann@x.org") == set()
        assert found(email__iexact="aNN@X.ORG") == {"Ann@x.org"}
        assert found(email__in=["Smith@x.org", "Jones@x.org", "nobody", None]) == {"Smith@x.org", "Jones@x.org"}
        assert found(email__in=[]) == set()
        assert found(phone__last4="2345") == found(phone__last4="00 2345") == {"Ann@x.org"}
        assert found(phone__digits="49151-2345") == {"Ann@x.org"}
        assert found(name__prefix3="smi") == {"Smith@x.org", "SMITHERS@x.org"}
        assert found(born=BORN) == found(born="1990-05-17") == {"Smith@x.org", "SMITHERS@x.org", "Jones@x.org"}
        assert found(number=1) == found(number="1") == {"SMITHERS@x.org"}
        assert found(login__iexact="A\u0308NN") == {"Ann@x.org"}
        assert found(name_born=("Smith", BORN)) == {"Smith@x.org"}
        assert found(name_born__in=[("Smith", BORN), ("Jones", BORN)]) == {"Smith@x.org", "Jones@x.org"}
        assert found(name_born=("Smith", None)) == set()
        assert "Ann@x.org" in found(city__candidates="Kiel")
        assert found(email=None) == found(email__isnull=True) == set()


def test_the_rest_of_a_query_is_as_ever(ann: Customer) -> None:
    Order.objects.create(customer=ann, title="t", place="here")
    with tenant("north"):
        rows = Customer.objects.filter(Q(email="Ann@x.org") | Q(name__prefix3="jon"))
        assert rows.count() == 2
        assert Customer.objects.filter(email="Ann@x.org").exists()
        assert Order.objects.get(customer__email="Ann@x.org").title == "t"
        assert not Order.objects.filter(customer__email="Jones@x.org")
        assert Order.objects.filter(place="here").select_related("customer").get().customer == ann
        assert Customer.objects.filter(Exists(Order.objects.filter(customer=OuterRef("pk"), place="here"))).get() == ann
        assert Customer.objects.filter(pk__in=Customer.objects.filter(email="Ann@x.org").values("pk")).get() == ann
        assert set(
            Customer.objects.filter(tenant_id="north").exclude(email="Ann@x.org").values_list("name", flat=True)
        ) == {"Smith", "SMITHERS", "Jones"}
        assert (
            Customer.objects.filter(~Q(email__in=["Ann@x.org"]), number__isnull=False, tenant_id="north").count() == 3
        )
        assert Customer.objects.aggregate(n=Count("pk", filter=Q(email="Ann@x.org"))) == {"n": 1}
        flagged = Customer.objects.annotate(hit=Case(When(email="Ann@x.org", then=Value(1)), default=Value(0)))
        assert flagged.filter(hit=1).get() == ann
        assert Customer.objects.annotate(e=F("email")).filter(e="Ann@x.org").get() == ann
        assert Customer.objects.filter(email="Ann@x.org").update(name="Other") == 1
        assert Customer.objects.filter(orders__place="here").count() == 1
        assert Customer.objects.exclude(orders__place="here").filter(tenant_id="north").count() == 3
        assert Customer.objects.filter(email="Ann@x.org").delete()[0] == 2


@pytest.mark.parametrize(
    "asked",
    [
        {"email__contains": "x"}, {"email__gt": "x"}, {"phone": "1"}, {"phone__iexact": "1"}, {"city": "Kiel"},
        {"name__startswith": "S"}, {"born__year": 1990}, {"login": "Ann"}, {"email": F("name")}, {"email__in": "x"},
        {"email__in": Customer.objects.values("email")}, {"name_born": "x"}, {"name_born": (F("name"), BORN)},
        {"name_born__gt": ("x", BORN)}, {"email_exact_index__gt": "x"}, {"email__exact__lower": "x"},
    ],
    ids=lambda asked: next(iter(asked)),
)  # fmt: skip
def test_refuses_what_no_index_answers(ann: Customer, asked: dict[str, Any]) -> None:
    with tenant("north"), pytest.raises(FieldError):
        list(Customer.objects.filter(**asked))


def test_a_refusal_names_what_would_be_answered(ann: Customer) -> None:
    """Complaint 1 (field-peers): neither nothing found in silence, nor a riddle."""
    for asked, known in [
        ({"login": "Ann"}, "does not answer exact, but login__iexact$"),
        ({"phone__contains": "1"}, "does not answer contains, but phone__digits, phone__last4$"),
        ({"email__startswith": "a"}, "but email__exact, email__iexact, email__in$"),
    ]:
        with tenant("north"), pytest.raises(FieldError, match=known):
            list(Customer.objects.filter(**asked))


def test_refuses_a_value_of_another_type_without_showing_it(ann: Customer) -> None:
    with tenant("north"), pytest.raises(ValueError, match="does not fit") as error:
        Customer.objects.filter(number="canary")
    assert "canary" not in str(error.value)


class TestTenant:
    """The active one, or the one that the same query names; never nobody's, never a silent nothing."""

    def test_of_the_same_query(self, ann: Customer) -> None:
        assert found(tenant_id="north", email="Ann@x.org") == {"Ann@x.org"}
        assert Customer.objects.filter(tenant_id="south").filter(email="Ann@x.org").get().tenant_id == "south"
        assert Customer.objects.filter(tenant_id__in=["north", "south"], email="Ann@x.org").count() == 2
        either = Q(tenant_id="north", email="Ann@x.org") | Q(tenant_id="south", email="Smith@x.org")
        assert Customer.objects.get(either) == ann
        assert Customer.objects.exclude(tenant_id="north", email="Ann@x.org").count() == 4
        Order.objects.create(customer=ann, title="t", place="here")
        assert Order.objects.get(customer__tenant_id="north", place="here").title == "t"
        assert Order.objects.get(customer__tenant_id="north", customer__email="Ann@x.org").title == "t"

    @pytest.mark.parametrize(
        "condition",
        [
            Q(email="Ann@x.org"),
            Q(email="Ann@x.org") | Q(tenant_id="north"),
            Q(email="Ann@x.org") & ~Q(tenant_id="north"),
            Q(email="Ann@x.org") & Q(tenant_id=F("tenant_id")),
            Q(email="Ann@x.org") & Q(tenant_id__startswith="north"),
            Q(email="Ann@x.org") & Q(email__isnull=False),
        ],
        ids=str,
    )
    def test_is_missing(self, ann: Customer, condition: Q) -> None:
        with pytest.raises(NoTenant, match="whose email_exact_index"):
            Customer.objects.filter(condition).count()

    def test_of_another_table_is_not_it(self, ann: Customer) -> None:
        with pytest.raises(NoTenant):
            Order.objects.filter(customer__email="Ann@x.org", title="north").count()

    def test_contradicts_the_active_one(self, ann: Customer) -> None:
        with tenant("south"), pytest.raises(TenantConflict):
            Customer.objects.filter(tenant_id="north", email="Ann@x.org").count()
        with tenant("south"):
            assert Customer.objects.filter(email="Smith@x.org").count() == 0

    def test_that_withdrew_access_cannot_be_searched(self, ann: Customer, cmk_tsp: MemoryTsp) -> None:
        with tenant("north"):
            assert found(email="Ann@x.org") == {"Ann@x.org"}
            cmk_tsp.revoke("north")
            row = Customer.objects.filter(tenant_id="north").first()
            assert row is not None
            assert not row.email  # that refusal ends what was kept
            with pytest.raises(KmsRefused):
                Customer.objects.filter(email="Ann@x.org").count()
            cmk_tsp.restore("north")
            assert found(email="Ann@x.org") == {"Ann@x.org"}

    def test_without_a_column_is_the_active_one(self, cmk_tsp: MemoryTsp) -> None:
        with tenant("north"):
            PostIt.objects.create(topic="t")
        with pytest.raises(NoTenant):
            PostIt.objects.filter(topic="t").count()
        with tenant("south"):
            assert PostIt.objects.filter(topic="t").count() == 0
        with tenant("north"):
            assert PostIt.objects.filter(topic="t").count() == 1


class TestUnique:
    def test_the_database_refuses_a_second_one_of_the_tenant(self, ann: Customer) -> None:
        for values in ({"login": "änn"}, {"number": 2}):
            with pytest.raises(IntegrityError), atomic():
                Customer.objects.create(tenant_id="north", **values)
        Customer.objects.create(tenant_id="south", login="Änn", number=2)
        Customer.objects.create(tenant_id="north")
        Customer.objects.create(tenant_id="north")
        with pytest.raises(IntegrityError), atomic():
            Customer.objects.filter(tenant_id="north").update(number=9)

    def test_holds_through_a_rotation(self, ann: Customer, cmk_tsp: MemoryTsp) -> None:
        """Field trap 27: two key versions of one value are two values to the database."""
        cmk_tsp.begin_rotation("north")
        index_keys.forget()
        with pytest.raises(IntegrityError), atomic():
            Customer.objects.create(tenant_id="north", number=2)
        Customer.objects.create(tenant_id="north", number=50)
        with pytest.raises(IntegrityError), atomic():
            Customer.objects.create(tenant_id="north", number=50)
        with tenant("north"):
            assert Customer.objects.filter(number__in=[2, 50]).count() == 2

    def test_is_told_before_by_validation(self, ann: Customer) -> None:
        from django.core.exceptions import ValidationError
        from django.forms import modelform_factory

        again = Customer(tenant_id="north", login="ÄNN", number=77)
        with pytest.raises(ValidationError) as error:
            again.full_clean()
        assert error.value.message_dict == {"login": ["Customer with this Login already exists."]}
        ann.full_clean()
        Customer(tenant_id="south", login="ÄNN").full_clean()
        form = modelform_factory(Customer, fields=["tenant_id", "number"])({"tenant_id": "north", "number": "2"})
        assert form.errors == {"number": ["Customer with this Number already exists."]}
        assert "number_unique_index" not in modelform_factory(Customer, fields="__all__")().fields


class TestRotation:
    """Begin, go through the rows, commit: each answer is right at each moment, also from a process that knows less."""

    @pytest.fixture(autouse=True)
    def _clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(index_keys, "_clock", lambda: self.now)
        index_keys.forget()

    def test_two_secrets_answer_and_the_new_one_writes_when_all_know_it(self, cmk_tsp: MemoryTsp) -> None:
        def create(email: str) -> int:
            one = Customer.objects.create(tenant_id="north", email=email)
            return int.from_bytes((stored_bytes(one, "email_exact_index") or b"")[:4], "big")

        with tenant("north"):
            old = create("a")
            cmk_tsp.begin_rotation("north")
            assert create("b") == old  # known for a minute: the proxy was not asked
            self.now = 61
            assert create("c") == old  # the new one is known, but maybe not to other processes
            self.now = 122
            new = create("d")
            assert new != old
            for email in "abcd":
                assert found(email=email) == {email}
            assert found(email__in=list("abcd")) == set("abcd")
            cmk_tsp.commit_rotation("north")
            self.now = 183
            assert (found(email="a"), found(email="d")) == (set(), {"d"})

    def test_keys_are_kept_for_a_bounded_time_and_number(self, cmk_tsp: MemoryTsp, settings: Any) -> None:
        settings.CMK_INDEX_KEY_SECONDS, settings.CMK_INDEX_KEY_TENANTS = 10, 2

        def asks(name: str) -> int:
            with counted(cmk_tsp) as calls, tenant(name):
                Customer.objects.filter(email="x").count()
            return len(calls)

        assert [asks("a"), asks("a"), asks("b"), asks("a"), asks("c"), asks("a"), asks("b")] == [1, 0, 1, 0, 1, 0, 1]
        self.now = 10
        assert asks("b") == 1

    def test_nothing_is_kept_with_zero_seconds(self, cmk_tsp: MemoryTsp, settings: Any) -> None:
        settings.CMK_INDEX_KEY_SECONDS = 0
        with tenant("north"):
            Customer.objects.create(tenant_id="north", email="a")
            with counted(cmk_tsp) as calls:
                assert Customer.objects.filter(Q(email="a") | Q(email__iexact="A")).count() == 1
            assert [call.route for call in calls] == ["derive"]
