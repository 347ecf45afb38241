"""AWS KMS on moto's server. Revocation is proved on LocalStack: moto goes on decrypting."""

from __future__ import annotations

import pytest

from tests.support.moto import Moto
from tests.tsp.kms.aws_contract import AwsContract, kms_at
from tests.tsp.kms.contract import CONTEXT
from tsp.egress import Egress
from tsp.kms.aws import AwsKms


class TestMoto(AwsContract):
    @pytest.fixture
    def url(self, moto: Moto) -> str:
        return moto.url

    @pytest.fixture
    def denied(self, url: str, arn: str, kms: AwsKms, egress: Egress) -> tuple[AwsKms, bytes]:
        """A key that does not exist is as good as withdrawn."""
        return kms_at(url, arn[:-4] + "0000", egress), kms.wrap(bytes(32), CONTEXT)
