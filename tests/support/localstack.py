"""LocalStack for tests: a KMS that really refuses a disabled key. `python -m tests.support.localstack --install`.

It has a virtual environment of its own, because its pins and ours do not agree: `var/localstack`, or the folder that
CMK_LOCALSTACK_VENV names. 4.4.0 is the release whose key service runs on Python 3.11.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from tests.support.processes import ROOT, Process, free_port

REQUIREMENTS = Path(__file__).with_name("localstack-requirements.txt")
COMMAND = "python -m tests.support.localstack --install"


def home() -> Path:
    """Where its virtual environment lies."""
    return Path(os.environ.get("CMK_LOCALSTACK_VENV") or ROOT / "var" / "localstack")


def installed() -> bool:
    """Whether exactly these requirements are installed for exactly this Python."""
    stamp = home() / "installed"
    return stamp.is_file() and stamp.read_text() == _wanted()


def install() -> None:
    """About 140 MB, half a minute. Does nothing when it is there already."""
    if installed():
        return
    shutil.rmtree(home(), ignore_errors=True)
    venv.create(home(), with_pip=True)
    pip = [str(home() / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "-r", str(REQUIREMENTS)], check=True)
    (home() / "installed").write_text(_wanted())


class LocalStack:
    """A running key service on the loopback; `url` is its address."""

    def __init__(self) -> None:
        if not installed():
            raise RuntimeError(f"the tests need LocalStack: run `{COMMAND}` (`make test` does)")
        self.folder = Path(tempfile.mkdtemp(prefix="cmk-localstack-"))
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        settings = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.folder),
            "GATEWAY_SERVER": "hypercorn",  # the other one listens on every interface
            "GATEWAY_LISTEN": f"127.0.0.1:{port}",
            "SERVICES": "kms",
            "STRICT_SERVICE_LOADING": "1",
            "EAGER_SERVICE_LOADING": "1",
            "DISABLE_EVENTS": "1",  # no telemetry
            "SKIP_SSL_CERT_DOWNLOAD": "1",
            "DNS_ADDRESS": "0",
            "FILESYSTEM_ROOT": str(self.folder),
            "LOCALSTACK_VOLUME_DIR": str(self.folder),
        }
        python = str(home() / "bin" / "python")
        self.process = Process(
            [python, "-m", "localstack.runtime.main"], self.folder / "log", env=settings, cwd=self.folder
        )
        self.process.wait_for_port(port, 60)

    def stop(self) -> None:
        self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _wanted() -> str:
    return f"{hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()} {sys.version_info[:3]}\n"


if __name__ == "__main__":
    if sys.argv[1:] != ["--install"]:
        sys.exit(f"usage: {COMMAND}")
    install()
