"""Files of packs and their signatures: written and read again; whatever else a file has, it is refused with one error, or is harmless, and forgeries are refused."""

import base64
import json
import math
import shutil
import subprocess
import time
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from tagger.errors import PackRefused, PathNotFound
from tagger.library.teaching import pack_file
from tagger.library.teaching.classifiers import (
    Classifier,
    Direction,
    EmbeddingSpace,
    calibrate,
    fit_direction,
)
from tagger.library.teaching.pack_file import (
    MAX_BYTES,
    NAMESPACE,
    PackChecker,
    PackedLandmark,
    PackEmbedding,
    PackManifest,
    Signature,
    SignatureInvalid,
    check_signature,
    encode_pack,
    read_pack,
)
from tagger.model.artifact import BackgroundStatistics

DIMENSION = 12
GENERATOR = np.random.default_rng(0)
STRANGERS = GENERATOR.normal(0.4, 0.1, (400, DIMENSION)).astype(np.float32)
SPACE = EmbeddingSpace.of(BackgroundStatistics.measured(STRANGERS))
PLACES = GENERATOR.normal(0.4, 0.3, (2, DIMENSION)).astype(np.float32)
BEGIN, END = b"-----BEGIN SSH SIGNATURE-----\n", b"-----END SSH SIGNATURE-----\n"
PACK = bytes(range(256)) * 400


@cache
def directions() -> list[Direction]:
    noise = GENERATOR.normal(0, 0.05, (2, 5, DIMENSION)).astype(np.float32)
    return [
        fit_direction(SPACE, place + own, STRANGERS[:0]) for place, own in zip(PLACES, noise, strict=True)
    ]


@cache
def manifest() -> PackManifest:
    return PackManifest(
        name="two-places",
        author="Ada",
        embedding=PackEmbedding(digest="ab" * 32, model="tiny", layer="pool", dimension=DIMENSION),
        landmarks=tuple(
            PackedLandmark(
                slug=slug,
                name=slug.title(),
                latitude=1.5,
                longitude=2.5,
                extent="point",
                examples=5,
                expected=each.expected,
            )
            for slug, each in zip(("church", "bridge"), directions(), strict=True)
        ),
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packs") / "two-places.pack"


def test_a_pack_is_read_as_it_was_written(file: Path) -> None:
    file.write_bytes(encode_pack(manifest(), directions()))
    pack = read_pack(file)
    assert pack.manifest == manifest()
    for read, written in zip(pack.directions_in(SPACE), directions(), strict=True):
        assert (read.examples, read.expected) == (5, written.expected)
        assert read.offset == pytest.approx(written.offset, abs=1e-5)
        assert np.allclose(read.weights, written.weights, atol=1e-6)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PathNotFound):
        read_pack(tmp_path / "absent.pack")


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"format": 2}, "of a later version"),
    ({"name": "../x"}, "name: String should match"),
    ({"name": None}, "name"),
    ({"author": "a\nb"}, "author: a text has a line break"),
    ({"about": "a" * 3000}, "about"),
    ({"landmarks": []}, "landmarks"),
    ({"more": 1}, "more: Extra inputs"),
    ({"embedding": {"digest": "x"}}, "embedding"),
    ({"landmarks.0.latitude": 91}, "latitude"),
    ({"landmarks.0.latitude": math.nan}, "latitude"),
    ({"landmarks.0.longitude": "1"}, "longitude"),
    ({"landmarks.0.extent": "dot"}, "extent"),
    ({"landmarks.0.slug": "bridge"}, "the same slug"),
    ({"landmarks.0.examples": 0}, "examples"),
    ({"landmarks.0.examples": 10**30}, "examples"),
    ({"landmarks.0.expected": -50}, "expected"),
    ({"landmarks.0.expected": math.inf}, "expected"),
    ({"landmarks.0.precision": 1.5}, "precision"),
    ({"landmarks.0.names": {"no language": "x"}}, "names"),
    ({"landmarks.0.names": {"a" * 3 + "-ab" * 20: "x"}}, "church: language"),
    ({"landmarks.0.names": {f"ab-{n:03}": "x" for n in range(501)}}, "church: name: there are 501 languages"),
    ({"landmarks.0.name": "a\x1b[2J"}, "church: name: it has a line break"),
    ({"landmarks.0.aliases": ["x"] * 101}, "church: alias: there are 101, more than 100"),
    ({"landmarks.0.aliases": ["x" * 201]}, "church: alias: it has 201 characters"),
    ({"landmarks.0.city": "a\nb"}, "church: city: it has a line break"),
    ({"landmarks.0.slug": "a" * 101}, "slug: it must be"),
    ({f"more-{n}": 1 for n in range(200)}, "its description is not one of a pack"),
    ({"embedding.dimension": DIMENSION + 1}, "not those of its landmarks"),
    ({"embedding.dimension": 10**12}, "embedding.dimension"),
]


def changed(changes: dict[str, Any]) -> str:
    document = json.loads(manifest().model_dump_json())
    for path, value in changes.items():
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        inner = document
        for parent in parents:
            inner = inner[parent]
        inner[last] = value
    return json.dumps(document)


def values() -> np.ndarray[Any, Any]:
    return np.stack([each.weights for each in directions()]).astype(np.float32)


@pytest.mark.parametrize(("changes", "reason"), CHANGES)
def test_a_description_that_no_pack_has_is_refused(changes: dict[str, Any], reason: str, file: Path) -> None:
    file.write_bytes(save({"directions": values()}, metadata={"pack": changed(changes)}))
    with pytest.raises(PackRefused) as refused:
        read_pack(file)
    assert reason in str(refused.value)
    assert str(refused.value).startswith(f"The pack {file} cannot be used: ")


def test_texts_are_read_without_marks_that_nobody_sees(file: Path) -> None:
    text = changed({"landmarks.0.name": "Our\u202e  church", "author": "\u2066Ada"})
    file.write_bytes(save({"directions": values()}, metadata={"pack": text}))
    pack = read_pack(file).manifest
    assert (pack.landmarks[0].name, pack.author) == ("Our church", "Ada")


@pytest.mark.parametrize(
    "tensors",
    [
        {"directions": values() * np.float32(np.nan)},
        {"directions": values() * np.float32(np.inf)},
        {"directions": np.full_like(values(), 3e38)},
        {"directions": values().astype(np.float64)},
        {"directions": values().astype(np.int8)},
        {"directions": values()[:1]},
        {"directions": values()[:, :5]},
        {"directions": values().ravel()},
        {"directions": values(), "more": values()},
        {"other": values()},
    ],
    ids=["NaN", "infinite", "huge", "64 bits", "8 bits", "a row", "columns", "flat", "more", "other"],
)
def test_numbers_that_no_pack_has_are_refused(tensors: dict[str, Any], file: Path) -> None:
    file.write_bytes(save(tensors, metadata={"pack": changed({})}))
    with pytest.raises(PackRefused):
        read_pack(file)


def described(text: str) -> bytes:
    return save({"directions": values()}, metadata={"pack": text})


NO_PACKS = {
    "empty": b"",
    "zeros": bytes(8),
    "zip": b"PK\x03\x04" * 20,
    "no description": save({"directions": values()}),
    "no JSON": described("{"),
    "deep JSON": described("[" * 100_000),
}


@pytest.mark.parametrize("data", NO_PACKS.values(), ids=NO_PACKS)
def test_what_is_no_pack_is_refused(data: bytes, file: Path) -> None:
    file.write_bytes(data)
    with pytest.raises(PackRefused):
        read_pack(file)


def test_a_file_that_is_too_large_is_not_read_to_its_end(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_file, "MAX_BYTES", 100)
    file.write_bytes(encode_pack(manifest(), directions()))
    with pytest.raises(PackRefused, match="larger than any pack"):
        read_pack(file)


def test_a_million_empty_arrays_are_refused_before_they_are_read(file: Path) -> None:
    array = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    for count in (20_000, 100_000):  # a long header, and one that is too long
        header = json.dumps({f"t{number}": array for number in range(count)}).encode()
        file.write_bytes(len(header).to_bytes(8, "little") + header)
        started_s = time.process_time()
        with pytest.raises(PackRefused, match="damaged, or no pack"):
            read_pack(file)
        assert time.process_time() - started_s < 0.2


def test_a_pack_of_a_stranger_is_checked_in_a_process_of_its_own(tmp_path: Path) -> None:
    sound, forged = encode_pack(manifest(), directions()), described(changed({"landmarks.0.latitude": 91}))
    with closing(PackChecker()) as checker:
        pack = checker.parse(tmp_path / "a.pack", sound, None, None)
        assert pack.manifest == manifest()
        with pytest.raises(PackRefused, match=r"a\.pack cannot be used: landmarks\.0\.latitude"):
            checker.parse(tmp_path / "a.pack", forged, None, None)


def test_a_pack_that_takes_too_long_to_check_is_refused(tmp_path: Path) -> None:
    sound = encode_pack(manifest(), directions())
    earlier = {*psutil.Process().children()}
    with closing(PackChecker(timeout_s=2)) as checker:
        checker.parse(tmp_path / "a.pack", sound, None, None)
        for child in {*psutil.Process().children()} - earlier:
            child.suspend()
        with pytest.raises(PackRefused, match="takes too much time or memory"):
            checker.parse(tmp_path / "a.pack", sound, None, None)


@st.composite
def forged(draw: st.DrawFn) -> bytes:
    """A pack with some bytes changed, removed or repeated."""
    data = bytearray(encode_pack(manifest(), directions()))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        end = min(len(data), at + draw(st.integers(1, 64)))
        match draw(st.sampled_from(("change", "cut", "remove", "repeat", "digits"))):
            case "change":
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[max(at, 1) :]
            case "remove":
                del data[at:end]
            case "repeat":
                data[at:at] = data[at:end]
            case _:  # other numbers in a description that stays JSON
                data[at:end] = bytes(
                    draw(st.sampled_from(b"0129")) if chr(each).isdigit() else each for each in data[at:end]
                )
        if not data:
            break
    return bytes(data)


@given(forged())
def test_a_forged_pack_is_refused_or_harmless(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    try:
        learned = [calibrate(each, STRANGERS) for each in read_pack(file).directions_in(SPACE)]
    except PackRefused:
        return
    for classifier in learned:
        restored = Classifier.from_bytes(classifier.to_bytes())
        scores = restored.scores(STRANGERS)
        assert np.isfinite(scores).all()
        assert (scores >= 0.9).mean() <= 0.01


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


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed")
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


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed")
@pytest.mark.parametrize("options", ['namespaces="git"', 'valid-before="20200101"'])
def test_a_key_that_may_not_sign_packs_now_is_unknown(keys: Keys, options: str) -> None:
    keys.know("ada", options)
    assert check_signature(PACK, keys.sign("ada"), keys.signers).state == "unknown"


def armoured(blob: bytes) -> bytes:
    return BEGIN + base64.encodebytes(blob) + END


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed")
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


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed")
def test_without_ssh_keygen_a_signature_is_not_checked(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    signature = keys.sign("ada")
    monkeypatch.setenv("PATH", str(keys.folder))
    assert check_signature(PACK, signature, None) == Signature("unchecked")
    old = keys.folder / "ssh-keygen"
    old.write_text("#!/bin/sh\nexit 1\n")  # as of an option that it does not know
    old.chmod(0o755)
    assert check_signature(PACK, signature, None) == Signature("unchecked")
