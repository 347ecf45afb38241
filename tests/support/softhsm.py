"""SoftHSM2 for tests: tokens in a temporary folder, reached through p11-kit, which makes it safe for threads."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.processes import need

PIN = "pin-of-tests-4711"
FOLDERS = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/homebrew/lib")


def proxy_module() -> str:
    """The path of p11-kit's module. Loaded directly, libsofthsm2.so takes no locks and crashes under threads."""
    for folder in FOLDERS:
        for found in sorted(Path(folder).glob("**/p11-kit-proxy.so")):
            return str(found)
    raise RuntimeError("the tests need p11-kit-proxy.so: install the packages p11-kit and p11-kit-modules")


class SoftHsm:
    """Two tokens with keys. Must be made before the process loads the module: PKCS#11 is started once a process.

    Tokens `cmk` and `other` hold `gcm` (encrypts), `wrap` (wraps only), `useless` (neither); `locked` is for bad PINs.
    """

    def __init__(self) -> None:
        self.util = need("softhsm2-util", "softhsm2")
        self.module = proxy_module()
        self.folder = Path(tempfile.mkdtemp(prefix="cmk-softhsm-"))
        (self.folder / "tokens").mkdir()
        conf = self.folder / "softhsm2.conf"
        conf.write_text(f"directories.tokendir = {self.folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
        os.environ["SOFTHSM2_CONF"] = str(conf)
        os.environ["TSP_PKCS11_MODULES"] = f"tests={self.module}"
        self.token("cmk")
        self.token("locked")
        self.token("other")
        self._keys()

    def token(self, label: str) -> None:
        so_pin = secrets.token_hex(8)
        command = [self.util, "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", so_pin]
        subprocess.run(command, check=True, capture_output=True)

    def stop(self) -> None:
        del os.environ["TSP_PKCS11_MODULES"]
        shutil.rmtree(self.folder, ignore_errors=True)

    def _keys(self) -> None:
        # In a process of its own: it starts PKCS#11 and logs in, which may be done once only in ours.
        script = Path(__file__).with_name("softhsm_keys.py")
        command = [sys.executable, str(script), self.module, PIN]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"no keys could be made: {done.stderr[-2000:]}")
