"""TLS as the guard speaks it: 1.2 and newer, name verified, the system's store or exactly one private CA. T-15."""

from __future__ import annotations

import os
import ssl
import tempfile
from functools import lru_cache

from tsp.egress.addresses import EgressDenied
from tsp.egress.sockets import TlsSocket


@lru_cache(maxsize=256)
def context(ca_pem: str = "", client_cert_pem: str = "", client_key_pem: str = "") -> ssl.SSLContext:
    """There is no switch that turns verification off. EgressDenied for PEM texts that cannot be read."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # CERT_REQUIRED and check_hostname
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.sslsocket_class = TlsSocket
    fine = True
    try:
        if ca_pem:
            made.load_verify_locations(cadata=ca_pem)
            fine = bool(made.get_ca_certs())
        else:
            _system_store(made)
        if client_cert_pem or client_key_pem:
            _identity(made, client_cert_pem, client_key_pem)
    except (ssl.SSLError, ValueError, OSError):
        fine = False
    if not fine:
        raise EgressDenied("the CA certificate, client certificate or client key cannot be read")
    return made


def _system_store(made: ssl.SSLContext) -> None:
    # Not load_default_certs: that one obeys SSL_CERT_FILE and SSL_CERT_DIR of the environment.
    paths = ssl.get_default_verify_paths()
    file = paths.openssl_cafile if os.path.isfile(paths.openssl_cafile) else None
    folder = paths.openssl_capath if os.path.isdir(paths.openssl_capath) else None
    made.load_verify_locations(cafile=file, capath=folder)


def _identity(made: ssl.SSLContext, cert_pem: str, key_pem: str) -> None:
    # OpenSSL reads these from a file only: one without a name where the system has it, and 0600 in any case.
    with tempfile.TemporaryFile() if os.path.isdir("/proc/self/fd") else tempfile.NamedTemporaryFile() as file:
        file.write(f"{cert_pem}\n{key_pem}\n".encode())
        file.flush()
        name = file.name if isinstance(file.name, str) else f"/proc/self/fd/{file.fileno()}"
        made.load_cert_chain(name, password="")  # an empty one, so that OpenSSL does not ask the terminal
