"""Signatures of packs, as `ssh-keygen -Y sign` makes them: a known signer is named, an unknown one is said to be unknown, and forgeries are refused."""

import base64
import shutil
import subprocess
from pathlib import Path

import pytest

from tagger.library.teaching.pack_file import (
    MAX_BYTES,
    NAMESPACE,
    Signature,
    SignatureInvalid,
    check_signature,
)

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed")

BEGIN, END = b"-----BEGIN SSH SIGNATURE-----\n", b"-----END SSH SIGNATURE-----\n"
PACK = bytes(range(256)) * 400


class Keys:
    """Ada's and Bob's keys, and the file of known signers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.signers = folder / "allowed_signers"
        for name, kind in (("ada", "ed25519"), ("bob", "ecdsa")):
            self.ssh_keygen("-q", "-t", kind, "-N", "", "-C", name, "-f", folder / name)

    def ssh_keygen(self, *options: object) -> None:
        subprocess.run(["ssh-keygen", *map(str, options)], check=True, capture_output=True)

    def sign(self, name: str, namespace: str = NAMESPACE) -> bytes:
        file, signature = self.folder / "two-places.pack", self.folder / "two-places.pack.sig"
        file.write_bytes(PACK)
        signature.unlink(missing_ok=True)
        self.ssh_keygen("-Y", "sign", "-n", namespace, "-f", self.folder / name, file)
        return signature.read_bytes()

    def public_key(self, name: str) -> str:
        return (self.folder / f"{name}.pub").read_text()

    def know(self, name: str, options: str = "") -> None:
        self.signers.write_text(f"{name}@example.org {options} {self.public_key(name)}")


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.mark.parametrize("name", ["ada", "bob"])
def test_a_known_signer_is_named_and_another_is_unknown(keys: Keys, name: str) -> None:
    signature = keys.sign(name)
    unknown = check_signature(PACK, signature, keys.signers)  # there is no such file
    assert (unknown.state, unknown.signer) == ("unknown", None)
    assert str(unknown.key).startswith("SHA256:")
    assert unknown.text == f"This pack is signed with a key of nobody you know, {unknown.key}."
    keys.know("bob" if name == "ada" else "ada")
    assert check_signature(PACK, signature, keys.signers) == unknown
    keys.know(name)
    assert check_signature(PACK, signature, None) == unknown
    known = check_signature(PACK, signature, keys.signers)
    assert known == Signature("known", f"{name}@example.org", unknown.key)
    assert known.text == f"This pack is signed by {name}@example.org."


@pytest.mark.parametrize("options", ['namespaces="git"', 'valid-before="20200101"'])
def test_a_key_that_may_not_sign_packs_now_is_unknown(keys: Keys, options: str) -> None:
    keys.know("ada", options)
    assert check_signature(PACK, keys.sign("ada"), keys.signers).state == "unknown"


def armoured(blob: bytes) -> bytes:
    return BEGIN + base64.encodebytes(blob) + END


def test_forged_and_damaged_signatures_are_refused(keys: Keys) -> None:
    keys.know("ada")
    signature = keys.sign("ada")
    blob = base64.b64decode(signature.removeprefix(BEGIN).removesuffix(END))
    keys.ssh_keygen("-q", "-t", "ed25519", "-N", "", "-f", keys.folder / "eve")
    ada, eve = (base64.b64decode(keys.public_key(name).split()[1]) for name in ("ada", "eve"))
    assert check_signature(PACK, armoured(blob), keys.signers).signer == "ada@example.org"
    forged = {
        "empty": b"",
        "no signature": b"signed, Ada",
        "cut off": signature[: len(signature) // 2],
        "cut inside": armoured(blob[:-10]),
        "changed": armoured(blob[:-1] + bytes([blob[-1] ^ 1])),
        "of another key": armoured(blob.replace(ada, eve)),
        "for something else": keys.sign("ada", namespace="git"),
        "huge": signature + b"\n" * MAX_BYTES,
    }
    for each in forged.values():
        with pytest.raises(SignatureInvalid):
            check_signature(PACK, each, keys.signers)
    for pack in (b"", PACK[:-1], PACK + b"\0"):
        with pytest.raises(SignatureInvalid):
            check_signature(pack, signature, keys.signers)


def test_without_ssh_keygen_a_signature_is_not_checked(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    signature = keys.sign("ada")
    monkeypatch.setenv("PATH", str(keys.folder))
    assert check_signature(PACK, signature, None) == Signature("unchecked")
    old = keys.folder / "ssh-keygen"
    old.write_text("#!/bin/sh\nexit 1\n")  # as of an option that it does not know
    old.chmod(0o755)
    assert check_signature(PACK, signature, None) == Signature("unchecked")
