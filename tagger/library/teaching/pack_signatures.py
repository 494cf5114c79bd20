"""Signatures of packs: people make them with `ssh-keygen -Y sign`, and this program lets `ssh-keygen` check them, as Git does.

So their format, the kinds of keys, and the file of known signers are OpenSSH's own, and nothing of them is read here.
"""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tagger.system.text_format import N_, gettext

NAMESPACE = "tagger-pack"
"""A signature that was made for anything else is none of a pack."""
MAX_BYTES = 64 * 2**10
TIMEOUT_S = 30.0
_REFUSED = 255
"""The exit code of `ssh-keygen` if the signature is not one of the data. An old version that cannot check any has another."""


@dataclass(frozen=True)
class Signature:
    """Who vouches for a pack. `signer`: the name of a known one. `key`: the fingerprint of the key, if it could be checked."""

    state: Literal["unsigned", "unchecked", "unknown", "known"]
    signer: str | None = None
    key: str | None = None

    @property
    def text(self) -> str:
        """What it says, in a sentence."""
        text = {
            "unsigned": N_("Nobody has signed this pack."),
            "unchecked": N_(
                "This pack has a signature, but it cannot be checked: ssh-keygen of OpenSSH 8.2 or later is missing."
            ),
            "unknown": N_("This pack is signed with a key of nobody you know, %(key)s."),
            "known": N_("This pack is signed by %(signer)s."),
        }[self.state]
        return gettext(text, key=self.key, signer=self.signer)


UNSIGNED = Signature("unsigned")


class SignatureInvalid(Exception):
    """The signature is not one of this pack."""


def check_signature(data: bytes, signature: bytes, signers: Path | None) -> Signature:
    """Check the signature of a pack's bytes.

    Args:
        data: the file of the pack.
        signature: the file beside it, which `ssh-keygen -Y sign` wrote.
        signers: the file of known signers, as ssh-keygen(1) describes it; it may not exist.

    Raises:
        SignatureInvalid: it belongs to other data, was made for something else than packs, is damaged or too large.
    """
    if len(signature) > MAX_BYTES:
        raise SignatureInvalid
    with tempfile.TemporaryDirectory(prefix="tagger-") as folder:
        file = Path(folder) / "signature"
        file.write_bytes(signature)
        try:
            checked = _run("check-novalidate", "-n", NAMESPACE, "-s", file, data=data)
            if checked.returncode == _REFUSED:
                raise SignatureInvalid
            found = re.search(r"SHA256:\S+", checked.stdout)
            if checked.returncode or not found:
                return Signature("unchecked")
            signer = None if signers is None else _known_signer(data, file, signers)
        except (OSError, subprocess.TimeoutExpired):
            return Signature("unchecked")
    return Signature("known" if signer else "unknown", signer, found[0])


def _known_signer(data: bytes, signature: Path, signers: Path) -> str | None:
    """The name of the signer whose key it is, if the file of signers lets the key sign packs now."""
    principals = _run("find-principals", "-s", signature, "-f", signers).stdout.splitlines()
    for name in principals:
        options = ("-I", name, "-n", NAMESPACE, "-s", signature, "-f", signers)
        if _run("verify", *options, data=data).returncode == 0:
            return name
    return None


def _run(action: str, *options: str | Path, data: bytes = b"") -> subprocess.CompletedProcess[str]:
    command = ("ssh-keygen", "-Y", action, *options)
    done = subprocess.run(command, input=data, capture_output=True, timeout=TIMEOUT_S, check=False)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(errors="replace"))
