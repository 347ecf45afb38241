"""The AWS suite: run on two independent servers, so that the quirk of one cannot become our contract."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from encrypted_fields.core.errors import KmsError
from tests.support.faults import FaultServer, serving
from tests.tsp.kms.contract import CONTEXT, KmsContract
from tsp.contract.options import load
from tsp.egress import Egress, aws
from tsp.egress.aws import client
from tsp.kms.aws import AwsKms
from tsp.kms.base import KmsAdapter

SECRET = "the-secret-access-key-of-the-aws-tests"
REGION = "eu-central-1"


def kms_at(url: str, arn: str, egress: Egress) -> AwsKms:
    options = {
        "key_arn": arn,
        "region": REGION,
        "access_key_id": "AKIATESTTESTTESTTEST",
        "secret_access_key": SECRET,
        "session_token": "a-session-token-of-the-aws-tests",
        "endpoint_url": url,
    }
    return AwsKms(load(AwsKms.Config, options), egress)


def admin_at(url: str, egress: Egress) -> Any:
    """The tenant's own client: makes keys, disables them."""
    return client(
        "kms",
        egress,
        region=REGION,
        access_key_id="AKIATESTTESTTESTTEST",
        secret_access_key="tenant",
        endpoint_url=url,
    )


class AwsContract(KmsContract):
    """Inherit with fixtures `url` and `denied`."""

    opaque_from = 64  # these servers put the key's id in clear in front; the real one's blob is opaque

    @pytest.fixture
    def arn(self, url: str, egress: Egress) -> str:
        return str(admin_at(url, egress).create_key()["KeyMetadata"]["Arn"])

    @pytest.fixture
    def kms(self, url: str, arn: str, egress: Egress) -> AwsKms:
        return kms_at(url, arn, egress)

    @pytest.fixture
    def silent(self, arn: str, egress: Egress) -> Iterator[AwsKms]:
        def nothing(server: FaultServer, sock: Any) -> None:
            while server.request(sock):
                pass

        with serving(nothing) as server:
            yield kms_at(server.url, arn, egress)

    def test_ignores_the_environment_of_the_machine(self, kms: KmsAdapter, poisoned_environment: FaultServer) -> None:
        aws._session.cache_clear()  # so that it is made in the poisoned environment
        super().test_ignores_the_environment_of_the_machine(kms, poisoned_environment)

    def test_refuses_a_blob_of_another_key_of_the_account(self, url: str, kms: AwsKms, egress: Egress) -> None:
        """T-18: the key is named on every call, whatever the blob says."""
        other = str(admin_at(url, egress).create_key()["KeyMetadata"]["Arn"])
        blob = kms_at(url, other, egress).wrap(bytes(32), CONTEXT)
        with pytest.raises(KmsError):
            kms.unwrap(blob, CONTEXT)
