"""Those who adopt documents test them with the proxy in memory that the library brings."""

from __future__ import annotations

import pytest

from encrypted_fields import documents
from encrypted_fields.core.errors import CmkError, KmsConfigDisabled, KmsRefused
from encrypted_fields.core.protobuf import fields, length
from encrypted_fields.documents import attached
from encrypted_fields.testing import MemoryTsp
from tests.encrypted_fields.documents.conftest import DOCUMENT, FORMATS, A, B


@pytest.mark.parametrize("form", FORMATS)
def test_the_proxy_in_memory_serves_documents(cmk_tsp: MemoryTsp, form: documents.Format) -> None:
    sealed = documents.encrypt(DOCUMENT, A, format=form)
    moved = documents.rekey(sealed, A, "b")
    assert documents.decrypt(moved, B) == DOCUMENT
    with pytest.raises(CmkError):
        documents.decrypt(moved, A)
    assert attached.decrypt(attached.encrypt(b"x", A), A) == b"x"
    assert [call.route for call in cmk_tsp.calls[:3]] == ["wrap", "rekey", "unwrap"]
    cmk_tsp.revoke("a")
    with pytest.raises(KmsRefused):
        documents.decrypt(sealed, A)


def test_it_refuses_an_edek_stamped_for_another_tenant(cmk_tsp: MemoryTsp) -> None:
    ((_, element),) = fields(cmk_tsp.wrap(A).edek)
    assert isinstance(element, bytes)
    with pytest.raises(KmsConfigDisabled):
        cmk_tsp.unwrap(A, length(1, element + length(6, b"b")))
