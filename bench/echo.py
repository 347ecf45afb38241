"""A bare ASGI application that reads a body and answers with as many bytes as a wrap does: the floor of the server."""

from __future__ import annotations

import sys
from typing import Any

from tsp import listen


class Echo:
    def __init__(self, size: int) -> None:
        self._body = b"x" * size
        self._headers = [(b"content-type", b"application/json"), (b"content-length", str(size).encode())]

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body})


async def _serve(size: int) -> None:
    listener = listen.Listener(Echo(size), "127.0.0.1", 0)
    await listener.start()
    print(f"echo ready: http://127.0.0.1:{listener.port}", flush=True)
    await listen.stopped()
    await listener.stop()


if __name__ == "__main__":
    listen.run(lambda: _serve(int(sys.argv[1])))
