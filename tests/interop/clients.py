"""IronCore's two clients that registries carry, as the tests drive them: alloy in this process, Node's in its own."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import ironcore_alloy as alloy

from tests.interop.runtime import NODE, installed

_SYSTEM = ssl.create_default_context()  # once: reading the authorities costs more than a request


class RefusedError(Exception):
    """What the Node client raised: `code` and `http` as it gave them, `kind` its class."""

    def __init__(self, reply: Mapping[str, Any]) -> None:
        super().__init__(reply["message"])
        self.code, self.http, self.kind = reply["code"], reply["http"], reply["error"]


class NodeClient:
    """One Node process; every call is one line in and one line out."""

    def __init__(self, url: str, key: str, ca: Path | None = None) -> None:
        self.url, self.key = url, key
        env = {**os.environ, **({"NODE_EXTRA_CA_CERTS": str(ca)} if ca else {})}
        self._child = subprocess.Popen(
            [NODE, "driver.mjs"], cwd=installed(), env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def call(self, op: str, tenant: str = "a", **more: Any) -> Any:
        """The client's answer with bytes as base64; RefusedError for its exception."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        request = {"op": op, "url": self.url, "key": self.key, "tenant": tenant, **more}
        self._child.stdin.write(json.dumps(request) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError("the Node client ended")
        reply = json.loads(line)
        if "error" in reply:
            raise RefusedError(reply)
        return reply["ok"]

    def close(self) -> None:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.close()
        self._child.wait(10)
        self._child.stdout.close()


class _Http(alloy.HttpClient):
    def __init__(self, verify: ssl.SSLContext) -> None:
        self._verify = verify

    async def post_json(
        self, url: str, json_body: str, headers: alloy.AlloyHttpClientHeaders
    ) -> alloy.AlloyHttpClientResponse:
        sent = {"Content-Type": headers.content_type, "Authorization": headers.authorization}
        try:
            async with httpx.AsyncClient(verify=self._verify, trust_env=False, timeout=30) as session:
                reply = await session.post(url, content=json_body, headers=sent)
        except httpx.HTTPError as error:  # any other class that a host raises here ends the whole process
            raise alloy.AlloyError.RequestError(type(error).__name__) from None
        return alloy.AlloyHttpClientResponse(json_body=reply.text, status_code=reply.status_code)


def saas_shield(url: str, key: str, *, legacy: bool = False, verify: ssl.SSLContext | None = None) -> alloy.SaasShield:
    """Alloy against `url`; call inside a running loop. `legacy` writes the older clients' documents (V3)."""
    alloy.ironcore_alloy.uniffi_set_event_loop(asyncio.get_running_loop())
    config = alloy.SaasShieldConfiguration(
        url,
        key,
        1.1,
        _Http(verify or _SYSTEM),
        legacy_tsc_write_format=legacy,
        allow_insecure_http=url.startswith("http:"),
    )
    return alloy.SaasShield(config)


def metadata(tenant: str = "a") -> alloy.AlloyMetadata:
    return alloy.AlloyMetadata(tenant, "user-1", "PII", "10.1.2.3", "object-9", "req-7", {"k1": "v1"})


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def unb64(text: str) -> bytes:
    return base64.b64decode(text)
