"""AWS KMS on LocalStack, with what only it does: a disabled key refuses."""

from __future__ import annotations

from typing import Any

import pytest

from encrypted_fields.core.errors import KmsRefused
from tests.support.localstack import LocalStack
from tests.tsp.kms.aws_contract import AwsContract, admin_at
from tests.tsp.kms.contract import CONTEXT
from tsp.egress import Egress
from tsp.kms.aws import AwsKms


class TestLocalStack(AwsContract):
    @pytest.fixture
    def url(self, localstack: LocalStack) -> str:
        return localstack.url

    @pytest.fixture
    def admin(self, url: str, egress: Egress) -> Any:
        return admin_at(url, egress)

    @pytest.fixture
    def denied(self, admin: Any, arn: str, kms: AwsKms) -> tuple[AwsKms, bytes]:
        blob = kms.wrap(bytes(32), CONTEXT)
        admin.disable_key(KeyId=arn)
        return kms, blob

    def test_a_disabled_key_refuses_at_once_and_works_again_when_enabled(
        self, admin: Any, arn: str, kms: AwsKms
    ) -> None:
        """R-5, R-6."""
        blob = kms.wrap(bytes(32), CONTEXT)
        admin.disable_key(KeyId=arn)
        with pytest.raises(KmsRefused):
            kms.unwrap(blob, CONTEXT)
        with pytest.raises(KmsRefused):
            kms.wrap(bytes(32), CONTEXT)
        admin.enable_key(KeyId=arn)
        assert kms.unwrap(blob, CONTEXT) == bytes(32)

    def test_a_key_scheduled_for_deletion_refuses_until_that_is_cancelled(
        self, admin: Any, arn: str, kms: AwsKms
    ) -> None:
        blob = kms.wrap(bytes(32), CONTEXT)
        admin.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)
        with pytest.raises(KmsRefused):
            kms.unwrap(blob, CONTEXT)
        admin.cancel_key_deletion(KeyId=arn)
        admin.enable_key(KeyId=arn)
        assert kms.unwrap(blob, CONTEXT) == bytes(32)
