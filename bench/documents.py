"""Documents of three fields through one leased proxy: this library's API beside ironcore-alloy's, which is Rust."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import httpx
import ironcore_alloy as alloy

from bench.rounds import Table, compare
from encrypted_fields import client, documents
from encrypted_fields.conf import Conf
from encrypted_fields.core.errors import CmkError
from tests.interop.clients import metadata
from tests.support.sandbox import sandbox

DOCUMENT = {"name": b"0123456789abcdef" * 2, "born": b"0123456789abcdef" * 2, "notes": b"0123456789abcdef" * 2}
ABOUT = documents.Metadata("a", "bench", "PII")
BATCH = 100


class _Kept(alloy.HttpClient):
    """Alloy leaves HTTP to its host: here httpx with one connection that stays open, as ours does."""

    def __init__(self) -> None:
        self._session = httpx.AsyncClient(trust_env=False, timeout=30)

    async def post_json(
        self, url: str, json_body: str, headers: alloy.AlloyHttpClientHeaders
    ) -> alloy.AlloyHttpClientResponse:
        sent = {"Content-Type": headers.content_type, "Authorization": headers.authorization}
        reply = await self._session.post(url, content=json_body, headers=sent)
        return alloy.AlloyHttpClientResponse(json_body=reply.text, status_code=reply.status_code)


def tables(quick: bool) -> list[Table]:
    rounds, seconds = (2, 0.5) if quick else (9, 1.5)
    loop = asyncio.new_event_loop()
    with sandbox("a", leased=True) as running:
        service = client.TspClient(Conf(tsp_url=running.url, api_key=running.api_key))
        client.install(service)
        try:
            shield = loop.run_until_complete(_shield(running.url, running.api_key))

            def theirs(work: Callable[[alloy.SaasShield], Awaitable[None]], count: int) -> Callable[[], float]:
                async def many() -> float:
                    done, start = 0, time.perf_counter()
                    while (spent := time.perf_counter() - start) < seconds:
                        await work(shield)
                        done += count
                    return done / spent

                return lambda: loop.run_until_complete(many())

            def ours(work: Callable[[], None], count: int) -> Callable[[], float]:
                def many() -> float:
                    done, start = 0, time.perf_counter()
                    while (spent := time.perf_counter() - start) < seconds:
                        work()
                        done += count
                    return done / spent

                return many

            found = [
                compare(
                    title,
                    "documents/s",
                    {"ironcore-alloy": theirs(alloys, count), "encrypted_fields.documents": ours(mine, count)},
                    rounds,
                    more_is_better=True,
                )
                for title, alloys, mine, count in (
                    ("Documents encrypted and decrypted one by one, two calls each", _theirs_one, _ours_one, 1),
                    (f"Documents encrypted and decrypted in batches of {BATCH}", _theirs_many, _ours_many, BATCH),
                )
            ]
        finally:
            client.uninstall(service)
            loop.close()
    for table in found:
        table.notes.append(
            "three fields of 32 bytes, V5; the same leased proxy on this machine, which shares its cores"
        )
    return found


async def _shield(url: str, key: str) -> alloy.SaasShield:
    alloy.ironcore_alloy.uniffi_set_event_loop(asyncio.get_running_loop())
    return alloy.SaasShield(alloy.SaasShieldConfiguration(url, key, 1.1, _Kept(), allow_insecure_http=True))


def _ours_one() -> None:
    if documents.decrypt(documents.encrypt(DOCUMENT, ABOUT), ABOUT) != DOCUMENT:
        raise RuntimeError("the document was not read back")


def _ours_many() -> None:
    sealed = documents.encrypt_batch({str(number): DOCUMENT for number in range(BATCH)}, ABOUT)
    whole = {name: one for name, one in sealed.items() if not isinstance(one, CmkError)}
    if list(documents.decrypt_batch(whole, ABOUT).values()) != [DOCUMENT] * BATCH:
        raise RuntimeError("the documents were not read back")


async def _theirs_one(shield: alloy.SaasShield) -> None:
    sealed = await shield.standard().encrypt(DOCUMENT, metadata())
    if await shield.standard().decrypt(sealed, metadata()) != DOCUMENT:
        raise RuntimeError("the document was not read back")


async def _theirs_many(shield: alloy.SaasShield) -> None:
    sealed = await shield.standard().encrypt_batch({str(number): DOCUMENT for number in range(BATCH)}, metadata())
    opened = await shield.standard().decrypt_batch(sealed.successes, metadata())
    if list(opened.successes.values()) != [DOCUMENT] * BATCH:
        raise RuntimeError("the documents were not read back")
