"""The AWS SDK made to use the door, and nothing else of this machine: no environment, no files, no metadata service."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from tsp.egress.door import CONNECT_SECONDS, Egress

if TYPE_CHECKING:
    import boto3
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse

_lock = threading.Lock()  # making a client is not thread-safe; using one is
_OURS = {"content-length", "transfer-encoding", "host", "expect", "connection", "accept-encoding"}


def client(
    service: str,
    egress: Egress,
    *,
    region: str,
    access_key_id: str,
    secret_access_key: str,
    session_token: str = "",
    endpoint_url: str = "",
    timeout: float = 10.0,
    connect_timeout: float = CONNECT_SECONDS,
) -> Any:
    """A boto3 client with these credentials only. It does not retry: whoever calls knows how long it may take."""
    from botocore.config import Config

    # At DEBUG the SDK logs requests and replies whole: keys and credentials.
    logging.getLogger("botocore").setLevel(logging.WARNING)
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 1},
        user_agent="cmk-tsp",
        parameter_validation=True,
    )
    with _lock:
        made: Any = _session().client(
            service,  # type: ignore[call-overload]
            region_name=region,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
            aws_session_token=session_token or None,
            endpoint_url=endpoint_url or None,
            config=config,
        )

    def send(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        return _send(request, egress, timeout, connect_timeout)

    # The SDK's own hook: a handler that answers (or raises) takes the place of its HTTP session.
    made.meta.events.register_first("before-send", send)
    return made


def _send(request: AWSPreparedRequest, egress: Egress, timeout: float, connect_timeout: float) -> AWSResponse:
    from botocore.awsrequest import AWSResponse

    headers = {name: _text(value) for name, value in request.headers.items() if name.lower() not in _OURS}
    body: Any = request.body or b""
    if not isinstance(body, (str, bytes, bytearray)):
        body = body.read()
    reply = egress.request(
        str(request.method),
        str(request.url),
        headers=headers,
        body=body.encode() if isinstance(body, str) else bytes(body),
        timeout=timeout,
        connect_timeout=connect_timeout,
    )
    found: Any = reply.headers
    return AWSResponse(request.url, reply.status, found, _Body(reply.body))


class _Body:
    """What the SDK reads a reply from."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self) -> Iterator[bytes]:
        yield self._content

    def read(self) -> bytes:
        return self._content


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


@cache
def _session() -> boto3.session.Session:
    import boto3
    from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES, ConfigValueStore, ConstantProvider
    from botocore.credentials import CredentialResolver
    from botocore.loaders import Loader
    from botocore.session import Session
    from botocore.tokens import TokenProviderChain

    # Every setting at the SDK's own default, instead of a search through variables and files.
    settings = {name: default for name, (_, _, default, _) in BOTOCORE_DEFAUT_SESSION_VARIABLES.items()}
    settings |= {
        "config_file": os.devnull,
        "credentials_file": os.devnull,
        "ignore_configured_endpoint_urls": True,
    }
    session = Session()
    session.register_component(
        "config_store", ConfigValueStore({name: ConstantProvider(value) for name, value in settings.items()})
    )
    session.register_component("credential_provider", CredentialResolver([]))
    session.register_component("token_provider", TokenProviderChain([]))
    # Not the default loader: that one lets ~/.aws/models redefine a service.
    loader = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    session.register_component("data_loader", loader)
    return boto3.session.Session(botocore_session=session)
