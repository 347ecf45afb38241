"""The asynchronous twins do what the blocking functions do, and leave the event loop free."""

from __future__ import annotations

import asyncio
import inspect
import io
import threading

import pytest

from encrypted_fields import documents
from encrypted_fields.core.protocol import Metadata
from encrypted_fields.documents import EncryptedDocument, attached, deterministic
from encrypted_fields.documents.threads import in_thread
from tests.encrypted_fields.documents.conftest import DOCUMENT, A, B
from tests.encrypted_fields.documents.memory import Keys


@pytest.mark.parametrize("module", [documents, attached, deterministic])
def test_every_function_has_a_twin(module: object) -> None:
    blocking = {name for name in vars(module) if "a" + name in vars(module)}
    assert blocking >= {"encrypt", "decrypt"}
    functions = [value for value in vars(module).values() if inspect.isfunction(value) and value is not in_thread]
    ours = [function for function in functions if function.__module__.startswith("encrypted_fields.documents")]
    public = {name for name, value in vars(module).items() if value in ours and name[0] not in "_a"}
    assert public == blocking
    assert all(inspect.iscoroutinefunction(getattr(module, "a" + name)) for name in blocking)


async def test_the_twins_do_the_same(keys: Keys) -> None:
    sealed = await documents.aencrypt(DOCUMENT, A)
    assert await documents.adecrypt(sealed, A) == DOCUMENT
    assert await documents.adecrypt(await documents.arekey(sealed, A, "b"), B) == DOCUMENT
    batch = await documents.aencrypt_batch({"1": DOCUMENT}, A)
    assert isinstance(batch["1"], EncryptedDocument)
    assert await documents.adecrypt_batch({"1": batch["1"]}, A) == {"1": DOCUMENT}
    target, plain = io.BytesIO(), io.BytesIO()
    edek = await documents.aencrypt_stream(io.BytesIO(b"x"), target, A)
    assert await documents.adecrypt_stream(io.BytesIO(target.getvalue()), plain, edek, A) == 1
    blob = await attached.aencrypt(b"x", A)
    assert await attached.adecrypt(await attached.arekey(blob, A), A) == b"x"


async def test_the_loop_goes_on_while_the_proxy_thinks(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answer = threading.Event(), threading.Event()
    wrap = keys.wrap

    def slow(about: Metadata) -> object:
        asked.set()
        assert answer.wait(10)
        return wrap(about)

    monkeypatch.setattr(keys, "wrap", slow)
    task = asyncio.create_task(documents.aencrypt(DOCUMENT, A))
    await asyncio.to_thread(asked.wait, 10)  # would not come back if the proxy were asked in this thread
    assert not task.done()
    answer.set()
    assert isinstance(await task, EncryptedDocument)
