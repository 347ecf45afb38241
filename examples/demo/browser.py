"""A person at the sample SaaS: signs in, opens pages, fills in forms. Cookies and CSRF as a browser does them."""

from __future__ import annotations

import html
import http.cookiejar
import re
import secrets
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping

from examples.demo.processes import Failed

_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class Browser:
    """One person's session at `base` (an address of the loopback)."""

    def __init__(self, base: str) -> None:
        self.base = base
        jar = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)

    def sign_in(self, login: str, password: str) -> None:
        page = self.submit("/login/", {"username": login, "password": password})
        if "Sign out" not in page:
            raise Failed(f"{login} could not sign in at {self.base}")

    def read(self, path: str) -> bytes:
        """The body of a page or file; Failed for any status but 200."""
        return self._open(urllib.request.Request(self.base + path))

    def page(self, path: str) -> str:
        """A page as text, with entities resolved, so that what a person reads can be searched for."""
        return html.unescape(self.read(path).decode())

    def submit(self, path: str, fields: Mapping[str, str], file: tuple[str, bytes] | None = None) -> str:
        """Fills in the form on the page `path` and sends it, with a file if given; the page that follows."""
        token = _TOKEN.search(self.read(path).decode())
        if token is None:
            raise Failed(f"{path} has no form")
        values = {**fields, "csrfmiddlewaretoken": token[1]}
        if file is None:
            request = urllib.request.Request(self.base + path, urllib.parse.urlencode(values).encode())
        else:
            kind, body = _multipart(values, file)
            request = urllib.request.Request(self.base + path, body, {"Content-Type": kind})
        request.add_header("Origin", self.base)
        return html.unescape(self._open(request).decode())

    def _open(self, request: urllib.request.Request) -> bytes:
        try:
            with self._opener.open(request, timeout=30) as reply:
                return bytes(reply.read())
        except urllib.error.HTTPError as error:
            raise Failed(f"{request.get_method()} {request.full_url}: HTTP {error.code}") from None
        except OSError as error:
            raise Failed(f"{request.get_method()} {request.full_url}: {error}") from None


def _multipart(values: Mapping[str, str], file: tuple[str, bytes]) -> tuple[str, bytes]:
    edge = secrets.token_hex(16)
    parts = [
        f'--{edge}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()
        for name, text in values.items()
    ]
    name, content = file
    head = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
    parts += [f"{head}Content-Type: application/octet-stream\r\n\r\n".encode(), content, f"\r\n--{edge}--\r\n".encode()]
    return f"multipart/form-data; boundary={edge}", b"".join(parts)
