"""The file of a pack: landmarks that somebody has taught, for libraries with the same model.

A safetensors file: `directions`, float32 (L, D), and one entry of metadata, `pack`, with the JSON of a `PackManifest`. It has no photo, no
path and no verdict. Reading it runs no code, and checks each number and size, and the signature in the file NAME.pack.sig beside it, if
there is one. Knows nothing of SQL.

People sign packs with `ssh-keygen -Y sign`, and this program lets `ssh-keygen` check the signatures, as Git does. So their format, the kinds of keys, and the file of known signers are OpenSSH's own, and nothing of them is read here.
"""

import json
import math
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from blake3 import blake3
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors.numpy import save

from tagger.errors import LandmarkInvalid, PackRefused, PathNotFound, PhotoFailed
from tagger.library.teaching.classifiers import Direction, EmbeddingSpace, Values
from tagger.model.artifact import LandmarkFacts
from tagger.photos.files import open_regular
from tagger.photos.folders import new_file
from tagger.pipeline.child_main import ParentPipe, Reply, ReplyFunction, reply_to_parent
from tagger.pipeline.child_process import ChildProcess, minimal_environment
from tagger.pipeline.confinement import confine, is_due, limit_cpu, limit_memory
from tagger.system.names import SLUG_PATTERN, check_slug, clean_facts, slug_of_name
from tagger.system.text_format import INVISIBLE, N_, gettext, has_controls, percent

NAMESPACE = "tagger-pack"
"""A signature that was made for anything else is none of a pack."""
MAX_SIGNATURE_BYTES = 64 * 2**10
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
        SignatureInvalid: it belongs to other data, was made for something other than packs, is damaged or too large.
    """
    if len(signature) > MAX_SIGNATURE_BYTES:
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


MAX_BYTES = 64 * 2**20
MAX_LANDMARKS = 5000
"""A library compares each new photo with all of them."""
MAX_EXPECTED = 1000.0
MAX_NAME = 100
LENGTH_TOLERANCE = 0.01
LEAST_PRECISION = 0.8
"""Landmarks with a smaller share of right tags are named in a warning, the first `MOST_NAMED` of them."""
MOST_NAMED = 5
DIRECTIONS, MANIFEST = "directions", "pack"
SIGNATURE_SUFFIX = ".sig"
MAX_HEADER_BYTES = 8 * 2**20
"""The descriptions of so many landmarks have four megabytes."""
_LENGTH_BYTES = 8
_HEADER = re.compile(
    rb"""\{"__metadata__":\{"pack":("(?:[^"\\]|\\.)*+")\},"directions":"""
    rb"""\{"dtype":"F32","shape":\[(\d{1,5}),(\d{1,5})\],"data_offsets":\[0,(\d{1,9})\]\}\} *"""
)
"""The header that safetensors writes for one array. Headers with other keys may have a million of them, so they are not read."""
MAX_ERRORS = 100
"""Of a description with more of them, none is named: listing a million takes longer than everything else."""
GET_AGAIN = "get the file again from where you have it"


def _plain(text: str) -> str:
    if has_controls(text):
        raise ValueError("a text has a line break or another control character")
    return INVISIBLE.sub("", text)


Text = Annotated[str, Field(max_length=2000), AfterValidator(_plain)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=10**9)]
Share = Annotated[float, Field(ge=0, le=1)]
STRICT = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class PackedLandmark(LandmarkFacts):
    """A landmark, and how many different photos taught it. `expected`: see `Direction`.

    `precision` and `recall`: the share of right tags and of found photos that its author expects, or has measured on `held_out` photos.
    """

    model_config = STRICT

    examples: Annotated[int, Field(ge=1, le=10**9)]
    expected: Annotated[float, Field(ge=0, le=MAX_EXPECTED)]
    precision: Share | None = None
    recall: Share | None = None
    held_out: Count = 0


class PackEmbedding(BaseModel):
    """The embeddings for which a pack is made: those of the model with this digest."""

    model_config = STRICT

    digest: Digest
    model: Text
    layer: Text
    dimension: Annotated[int, Field(ge=2, le=16384)]


class PackManifest(BaseModel):
    """What a pack says of itself. `about` are its author's words."""

    model_config = STRICT

    format: Literal[1] = 1
    name: Annotated[str, Field(pattern=SLUG_PATTERN, max_length=MAX_NAME)]
    author: Text = ""
    licence: Text = ""
    about: Text = ""
    embedding: PackEmbedding
    landmarks: Annotated[tuple[PackedLandmark, ...], Field(min_length=1, max_length=MAX_LANDMARKS)]

    @model_validator(mode="after")
    def _has_each_landmark_once(self) -> Self:
        if len({landmark.slug for landmark in self.landmarks}) != len(self.landmarks):
            raise ValueError("two landmarks have the same slug")
        return self


@dataclass(frozen=True)
class Pack:
    """A pack that was read. `directions` (L, D) are those of the manifest's landmarks, `digest` is the BLAKE3 digest of the file."""

    file: Path
    manifest: PackManifest
    directions: Values
    digest: str
    signature: Signature = UNSIGNED

    @property
    def warnings(self) -> list[str]:
        """What its author's figures say against it, in sentences."""
        weak = [
            each.name
            for each in self.manifest.landmarks
            if each.precision is not None and each.precision < LEAST_PRECISION
        ]
        if not weak:
            return []
        names = ", ".join(weak[:MOST_NAMED] + ["…"] * (len(weak) > MOST_NAMED))
        text = N_("By its author's figures, fewer than %(share)s of the tags are right of %(names)s.")
        return [gettext(text, share=percent(LEAST_PRECISION), names=names)]

    def directions_in(self, space: EmbeddingSpace) -> list[Direction]:
        """The landmarks' directions in the space of the model.

        Raises:
            PackRefused: they were not learned in this space.
        """
        if not np.allclose(space.lengths(self.directions), 1, atol=LENGTH_TOLERANCE):
            raise self.refusal("its numbers were not learned with its model, so they were changed or forged")
        weights = self.directions.astype(np.float64)
        return [
            Direction(row, float(row @ space.mean), landmark.examples, landmark.expected)
            for row, landmark in zip(weights, self.manifest.landmarks, strict=True)
        ]

    def refusal(self, reason: str, remedy: str = GET_AGAIN) -> PackRefused:
        """The error that refuses this pack."""
        return _refusal(self.file, reason, remedy)


def _refusal(file: Path, reason: str, remedy: str = GET_AGAIN) -> PackRefused:
    return PackRefused(file=file, reason=reason, remedy=remedy)


def name_of_pack(file: Path) -> str:
    """The name of the pack in a file that is about to be written: `castles` for `Castles.pack`. Empty: the file's name gives none."""
    return (slug_of_name(file.name.removesuffix(".pack")) or "")[:MAX_NAME].strip("-")


def encode_pack(manifest: PackManifest, directions: Sequence[Direction]) -> bytes:
    """The file of a pack. `directions` are those of the manifest's landmarks."""
    values = np.stack([each.weights for each in directions]).astype(np.float32)
    return save({DIRECTIONS: values}, metadata={MANIFEST: manifest.model_dump_json(exclude_none=True)})


def read_pack(file: Path, signers: Path | None = None) -> Pack:
    """Read a pack, with the signature beside it, and check both.

    `signers`: the file of known signers, as ssh-keygen(1) describes it.

    Raises:
        PathNotFound: there is no such file.
        PackRefused: as `parse_pack`.
    """
    data = _read(file, MAX_BYTES)
    try:
        signature = _read(file.with_name(file.name + SIGNATURE_SUFFIX), MAX_SIGNATURE_BYTES)
    except PathNotFound:
        signature = None
    return parse_pack(file, data, signature, signers)


def parse_pack(file: Path, data: bytes, signature: bytes | None, signers: Path | None) -> Pack:
    """Check the bytes of a pack and of its signature. `file` names it in errors.

    Raises:
        PackRefused: it is no pack, of a later version, too large, damaged, or has values that no pack has; or it has the signature of
            another file.
    """
    refused = partial(_refusal, file)
    manifest, directions = _contents(data, refused)
    try:
        signed = UNSIGNED if signature is None else check_signature(data, signature, signers)
    except SignatureInvalid as error:
        reason = (
            "its signature is not one of this file: one of the two was changed, forged, cut off or exchanged"
        )
        raise refused(reason, "get both files again from where you have them") from error
    return Pack(file, manifest, directions, blake3(data).hexdigest(), signed)


def _contents(data: bytes, refused: Callable[..., PackRefused]) -> tuple[PackManifest, Values]:
    """The description and the directions, without a copy of either."""
    if len(data) > MAX_BYTES:
        raise refused("it is larger than any pack")
    start = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    header = _HEADER.fullmatch(data, _LENGTH_BYTES, start) if start <= MAX_HEADER_BYTES else None
    if header is None or int(header[4]) != len(data) - start:
        raise refused("it is damaged, or no pack")
    manifest = _manifest(header[1], refused)
    shape = len(manifest.landmarks), manifest.embedding.dimension
    if shape != (int(header[2]), int(header[3])) or 4 * math.prod(shape) != int(header[4]):
        raise refused("its numbers are not those of its landmarks")
    directions = np.frombuffer(data, "<f4", math.prod(shape), start).reshape(shape)
    if not np.isfinite(directions).all() or np.abs(directions).max() > MAX_EXPECTED:
        raise refused("it has numbers that are not finite, or too large")
    return manifest, directions


def _manifest(encoded: bytes, refused: Callable[..., PackRefused]) -> PackManifest:
    """The description, from the text of JSON that it is in the header."""
    try:
        manifest = PackManifest.model_validate_json(json.loads(encoded))
    except ValidationError as error:
        raise _invalid(error, refused) from error
    except ValueError as error:
        raise refused("it is damaged, or no pack") from error
    cleaned = []
    for landmark in manifest.landmarks:
        try:
            check_slug(landmark.slug)
            cleaned.append(landmark.model_copy(update=clean_facts(vars(landmark))))
        except LandmarkInvalid as error:
            raise refused(f"{landmark.slug[:100]}: {error.values['reason']}") from error
    return manifest.model_copy(update={"landmarks": tuple(cleaned)})


def _invalid(error: ValidationError, refused: Callable[..., PackRefused]) -> PackRefused:
    if error.error_count() > MAX_ERRORS:
        return refused("its description is not one of a pack")
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])[:100]
    if where == "format":
        return refused("it is of a later version", "update this program")
    return refused(f"{where or 'its description'}: {first['msg'].removeprefix('Value error, ')}")


def write_pack(file: Path, data: bytes) -> None:
    """Write the bytes of a pack to a file, which then is the old one or the whole new one.

    Raises:
        OSError: it cannot be written.
    """
    with new_file(file) as partial_file:
        partial_file.write_bytes(data)


def _read(file: Path, max_bytes: int) -> bytes:
    """At most one byte more than `max_bytes`, which is checked later."""
    try:
        with open_regular(file) as opened:
            return opened.read(max_bytes + 1)
    except FileNotFoundError as error:
        raise PathNotFound(path=file) from error


CHECK_S = 30.0
"""The time that a pack of the largest size takes at most, on a slow machine."""
CHECK_BYTES = 512 * 2**20
IDLE_S = 60


class PackChecker:
    """Reads packs of strangers in a confined child process first, one at a time: one that takes too much has only the child."""

    def __init__(self, timeout_s: float = CHECK_S) -> None:
        self._child = ChildProcess(__name__, {}, timeout_s, environment=minimal_environment)

    def parse(self, file: Path, data: bytes, signature: bytes | None, signers: Path | None) -> Pack:
        """As `parse_pack`.

        Raises:
            PackRefused: as `parse_pack`, or reading it takes too much time or memory.
        """
        try:
            refused = self._child.run(lambda child: child.call({}, data))["refused"]
        except PhotoFailed as error:
            raise _refusal(file, "reading it takes too much time or memory") from error
        if refused is not None:
            raise _refusal(file, str(refused["reason"]), str(refused["remedy"]))
        return parse_pack(file, data, signature, signers)

    def close(self) -> None:
        """End the child."""
        self._child.close()


def _make_answer(_config: object, _parent: ParentPipe) -> ReplyFunction:
    limit_memory(CHECK_BYTES)
    confine()

    def answer(_request: object, data: bytes) -> Reply:
        limit_cpu(CHECK_S)
        try:
            _contents(data, partial(_refusal, Path()))
        except PackRefused as error:
            return {"refused": {name: error.values[name] for name in ("reason", "remedy")}}, b""
        return {"refused": None}, b""

    return answer


if __name__ == "__main__":
    reply_to_parent(_make_answer, idle_s=IDLE_S, is_due=lambda: is_due(time.process_time()))
