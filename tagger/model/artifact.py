"""The exported model: TorchScript and a manifest in one `.pt` file.

The file is a zip archive whose `extra/manifest.json` can be read without torch. The scripted forward takes
uint8 (B, 3, H, W). In format 1 it returns float32 (B, L): a calibrated score per label. The scores sum to at
most 1; the remainder is the probability that the photo shows none of the labels. In format 2 it returns these
scores and an embedding (B, D), with which other landmarks can be taught. It normalises inside.

A file of format 2 has background statistics: mean and covariance of the embeddings of photos that show none
of its landmarks. They tell what is special about the few photos of a landmark that somebody teaches
("Discriminative decorrelation", Hariharan et al., 2012). They are one entry, as little-endian float32: the
mean (D,), then the upper triangle of the covariance, row by row.

The file is a program, and `torch.jit.load` already runs code from it. Load only files that the operator
named, after a check of the digest. What their code can do is limited: see `checked_archive`.
"""

from __future__ import annotations

import io
import json
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from blake3 import blake3
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from tagger.errors import ModelRefused
from tagger.model.model_code import ProgramRefused, check_code
from tagger.model.model_data import check_constants, check_module
from tagger.photos.decoding import Fit, Resize
from tagger.photos.files import new_file, open_regular
from tagger.texts.names import LANGUAGE_PATTERN, MAX_TEXT, SLUG_PATTERN

if TYPE_CHECKING:
    import torch


Values = npt.NDArray[np.float32]
STORED = np.dtype("<f4")


@dataclass(frozen=True)
class BackgroundStatistics:
    """`photos`: how many were measured. `mean`: (D,). `covariance`: (D, D)."""

    photos: int
    mean: Values
    covariance: Values

    @classmethod
    def measured(cls, embeddings: Values) -> Self:
        """The statistics of embeddings, (N, D), of at least two photos."""
        values = embeddings.astype(np.float64)
        covariance = np.cov(values, rowvar=False).reshape(values.shape[1], -1)
        return cls(
            len(values),
            values.mean(axis=0).astype(np.float32),
            covariance.astype(np.float32),
        )

    def to_bytes(self) -> bytes:
        triangle = self.covariance[np.triu_indices(len(self.mean))]
        return np.concatenate([self.mean, triangle]).astype(STORED).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, photos: int, dimension: int) -> Self:
        """Restore the statistics.

        Raises:
            ValueError: the data has another size, or values that are not finite.
        """
        if len(data) != stored_bytes(dimension):
            raise ValueError(
                f"its background statistics have {len(data)} bytes instead of {stored_bytes(dimension)}"
            )
        values = np.frombuffer(data, STORED).astype(np.float32)
        if not np.isfinite(values).all():
            raise ValueError(
                "its background statistics have values that are not finite"
            )
        covariance = np.zeros((dimension, dimension), np.float32)
        covariance[np.triu_indices(dimension)] = values[dimension:]
        covariance += np.triu(covariance, 1).T
        return cls(photos, values[:dimension], covariance)


def stored_bytes(dimension: int) -> int:
    return STORED.itemsize * (dimension + dimension * (dimension + 1) // 2)


MANIFEST_NAME = "manifest.json"
BACKGROUND_NAME = "background.f32"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Name = Annotated[str, Field(min_length=1)]
Language = Annotated[str, Field(pattern=LANGUAGE_PATTERN)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Range = tuple[Finite, Finite]
# The shape of a landmark on the map.
Extent = Literal["point", "line", "area", "multi"]


class LandmarkFacts(_Frozen):
    """A landmark as files describe it. `slug` identifies it everywhere.

    `names` are its names by language, `aliases` other names that people use.
    """

    slug: str = Field(pattern=SLUG_PATTERN)
    name: Name
    names: dict[Language, Name] = {}
    aliases: tuple[Name, ...] = ()
    country: str | None = None
    region: str | None = None
    city: str | None = None
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    extent: Extent | None = None


class Label(LandmarkFacts):
    """One class of the model, and what it stands for. `parent`: the slug of what a thing is a kind of."""

    label: str = Field(min_length=1)
    parent: str | None = Field(default=None, pattern=SLUG_PATTERN)


class InputRule(_Frozen):
    """The model's input, `size` x `size` pixels. The fields are those of `Resize`."""

    size: int = Field(ge=16, le=4096)
    short_side: int = Field(ge=16, le=8192)
    fit: Fit = "crop"

    @model_validator(mode="after")
    def _is_valid_resize(self) -> Self:
        _ = self.resize
        return self

    @property
    def resize(self) -> Resize:
        return Resize(short_side=self.short_side, size=self.size, fit=self.fit)


class Embedding(_Frozen):
    """The second output of a model of format 2.

    `layer`: the features of the network that it is made of. `background_photos`: those of the statistics.
    """

    dimension: int = Field(ge=2, le=16384)
    layer: str = Field(min_length=1)
    background_photos: int = Field(ge=2)


class Trunk(_Frozen):
    """The first `convolutions` of the model with this digest, which this model repeats, weights and ranges.

    What enters the next convolution is the same in both, so one pass can compute it for both.
    """

    digest: str = Field(pattern="^[0-9a-f]{64}$")
    convolutions: int = Field(ge=1)


# The entry of `Manifest.training` with the beginnings of the digests of the training photos,
# joined.
TRAINED_PHOTOS = "photo_digests"


class Manifest(_Frozen):
    """The description of an artifact. `threshold` is the lowest score at which a prediction is accepted.

    `kind`: what its labels are. Scores of things are independent of each other, so their sum is not bounded.
    `suggestion_threshold`: the lowest score at which one is suggested; None: the model suggests nothing.
    `ranges`: the lowest and highest value that enters each convolution, in order, for eight bits.
    `second_look`: photos whose highest score is in this range, without its end, get the mean of their scores
    and those of their mirror image.
    """

    format: Literal[1, 2] = 1
    kind: Literal["landmarks", "things"] = "landmarks"
    name: str = Field(min_length=1, max_length=MAX_TEXT)
    created_at: datetime
    labels: tuple[Label, ...] = Field(min_length=1)
    input: InputRule
    embedding: Embedding | None = None
    ranges: tuple[Range, ...] = ()
    trunk: Trunk | None = None
    second_look: Range | None = None
    threshold: float = Field(gt=0, le=1)
    threshold_reason: str
    suggestion_threshold: float | None = Field(default=None, gt=0, le=1)
    calibration: dict[str, float | str]
    training: dict[str, object]
    metrics: dict[str, float]
    versions: dict[str, str]

    @field_validator("created_at")
    @classmethod
    def _is_comparable(cls, created_at: datetime) -> datetime:
        # Times in the first and last years may have no equivalent in UTC, so they cannot be compared.
        if not 1970 <= created_at.year < 9999:
            raise ValueError("the year is not between 1970 and 9998")
        return created_at

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if (self.format == 2) != (self.embedding is not None):
            raise ValueError(
                f"format {self.format} {'needs' if self.format == 2 else 'has no'} embedding"
            )
        if (
            self.suggestion_threshold is not None
            and self.suggestion_threshold > self.threshold
        ):
            raise ValueError("suggestion_threshold is above threshold")
        if self.kind == "things" and self.embedding is not None:
            raise ValueError("a model of things has no embedding")
        parents = {label.parent for label in self.labels} - {None}
        if not parents <= {
            label.slug for label in self.labels if self.kind == "things"
        }:
            raise ValueError("the parent of a label is no thing of the model")
        for field in ("label", "slug"):
            values = [getattr(label, field) for label in self.labels]
            if len(set(values)) != len(values):
                raise ValueError(f"two labels have the same {field}")
        return self


def file_digest(path: Path) -> str:
    """Return the BLAKE3 digest of the whole file in hexadecimal, which identifies the model in the registry.

    Raises:
        ModelRefused: there is no such file, or it cannot be read.
    """
    hasher = blake3()
    # A mapped file that is truncated meanwhile ends the process.
    with _refusing(path), open_regular(path) as file:
        while piece := file.read(2**20):
            hasher.update(piece)
    return hasher.hexdigest()


def read_manifest(path: Path) -> Manifest:
    """Read the manifest without torch and without running code from the file.

    Raises:
        ModelRefused: there is no such file, it is not an artifact, or its manifest is invalid.
    """
    with (
        _refusing(path),
        open_regular(path) as file,
        open_archive(file) as archive,
    ):
        entries = _extra_entries(archive, MANIFEST_NAME)
        if len(entries) != 1:
            raise ModelRefused(
                path=path,
                reason="it has no manifest, so it was not exported by this program's trainer",
            )
        return Manifest.model_validate_json(archive.read(entries[0]))


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    # Turn the errors of reading a model file into its refusal.
    try:
        yield
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ModelRefused(path=path, reason=reason) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "manifest"
        reason = f"its manifest is invalid at {where}: {first['msg']}"
        raise ModelRefused(path=path, reason=reason) from error
    except ProgramRefused as error:
        raise ModelRefused(path=path, reason=str(error)) from error
    except DAMAGED as error:
        raise ModelRefused(path=path, reason="it is not a TorchScript file") from error


def read_background(
    path: Path, expected_digest: str, embedding: Embedding
) -> BackgroundStatistics:
    """Read the background statistics of a model of format 2, without torch.

    Raises:
        ModelRefused: the file's digest is not `expected_digest`, or the statistics are missing or damaged.
    """
    data = io.BytesIO(read_registered(path, expected_digest))
    dimension = embedding.dimension
    with _refusing(path), open_archive(data) as archive:
        entries = _extra_entries(archive, BACKGROUND_NAME)
        if len(entries) != 1 or entries[0].file_size != stored_bytes(dimension):
            raise ModelRefused(
                path=path, reason="it has no background statistics of the right size"
            )
        statistics = archive.read(entries[0])
    try:
        return BackgroundStatistics.from_bytes(
            statistics, embedding.background_photos, dimension
        )
    except ValueError as error:
        raise ModelRefused(path=path, reason=str(error)) from error


def _extra_entries(archive: zipfile.ZipFile, name: str) -> list[zipfile.ZipInfo]:
    return [
        entry
        for entry in archive.infolist()
        if entry.filename.endswith(f"/extra/{name}")
        and entry.compress_type in COMPRESSIONS
    ]


def manifest_document(manifest: Manifest) -> dict[str, Any]:
    """The manifest as JSON. Labels have only the facts that are known: there may be a hundred thousand."""
    document = manifest.model_dump(mode="json")
    document["labels"] = [
        {name: value for name, value in label.items() if value or value == 0}
        for label in document["labels"]
    ]
    return document


def save_artifact(
    module: torch.jit.ScriptModule,
    manifest: Manifest,
    path: Path,
    *,
    background: BackgroundStatistics | None = None,
) -> None:
    """Write the scripted module and its manifest to `path` atomically. The module must not be frozen.

    A manifest of format 2 needs `background`.
    """
    import torch

    text = json.dumps(manifest_document(manifest), ensure_ascii=False)
    archive = io.BytesIO()
    torch.jit.save(module, archive, _extra_files={MANIFEST_NAME: text.encode()})
    with (
        new_file(path) as partial,
        zipfile.ZipFile(archive) as source,
        zipfile.ZipFile(partial, "w") as target,
    ):
        for entry in source.infolist():
            # Debug information contains source paths of the exporting machine.
            if not entry.filename.endswith(".debug_pkl"):
                target.writestr(entry, source.read(entry))
        if background is not None:
            folder = source.namelist()[0].partition("/")[0]
            target.writestr(
                zipfile.ZipInfo(f"{folder}/extra/{BACKGROUND_NAME}"),
                background.to_bytes(),
            )


def load_module(path: Path, expected_digest: str) -> torch.jit.ScriptModule:
    """Load the scripted module on the CPU, in the precision it is stored in.

    Raises:
        ModelRefused: the file's digest is not `expected_digest`, it does what no classifier needs, or torch
            cannot read it.
    """
    import torch

    data = read_registered(path, expected_digest)
    with _refusing(path):
        archive = checked_archive(data)
    del data  # a large model would be in memory three times
    try:
        with without_deprecations():
            module: torch.jit.ScriptModule
            module = torch.jit.load(archive, map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, AttributeError, TypeError, ValueError, IndexError) as error:
        # torch raises errors of C++, and fails on modules that have the names of its own attributes.
        summary = str(error).strip().partition("\n")[0]
        raise ModelRefused(
            path=path, reason=f"torch cannot read it ({summary})"
        ) from error
    return module


@contextmanager
def without_deprecations() -> Iterator[None]:
    """Suppress the deprecation warnings of TorchScript, which has no removal date."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="`torch.jit", category=DeprecationWarning
        )
        yield


def check_program(path: Path) -> None:
    """Check that the file does nothing but what a classifier needs. None of its code runs.

    Raises:
        ModelRefused: it does something else, is damaged, or cannot be read.
    """
    with _refusing(path), open_regular(path) as file:
        checked_archive(file.read())


def read_registered(path: Path, expected_digest: str) -> bytes:
    """Read the file once and check its digest, so that it cannot be exchanged between the check and its use.

    Raises:
        ModelRefused: the file's digest is not `expected_digest`, or it cannot be read.
    """
    with _refusing(path), open_regular(path) as file:
        data = file.read()
    if blake3(data).hexdigest() != expected_digest:
        raise ModelRefused(
            path=path,
            reason="it is not the file that was registered (its digest differs)",
        )
    return data


# Checks a model file, a zip archive, before torch loads it, and rebuilds it from what was checked.
#
# A TorchScript file is a program: torch compiles its code, and runs some of it while it loads.
# `checked_archive` returns an archive with the same parameters and the checked code, in which torch
# finds nothing else: no second entry of a name, no data that zipfile does not see, no older format.

ROOT = "archive"
CODE = re.compile(r"code/(__torch__[\w/]*\.py)", re.ASCII)
STORAGE = re.compile(r"(data|constants)/\d+", re.ASCII)
OBJECTS = ("data.pkl", "constants.pkl")
FORMAT = {
    "version": re.compile(rb"\d{1,2}\n?"),
    ".data/version": re.compile(rb"\d{1,2}\n?"),
    "byteorder": re.compile(rb"little"),
}
# Others raise errors of their own where they are damaged, and none is used by torch.
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Of all code, pickles and compressed entries: few bytes may state gigabytes, and code is parsed
# into 600 times as many. The trainer compresses only code. Large networks have some 100 kB of code,
# and of pickles.
COMPRESSED_BYTES = 2**21
# What zipfile raises for damaged and unusual files.
DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    RuntimeError,
    ValueError,
)


def open_archive(file: IO[bytes]) -> zipfile.ZipFile:
    """Open a model file, of which no entry is read yet.

    Raises:
        ProgramRefused: its code, pickles or compressed entries are too large, or share their data.
        one of DAMAGED: it is no zip archive.
    """
    archive = zipfile.ZipFile(file)
    entries = archive.infolist()
    limited = [
        entry
        for entry in entries
        if entry.compress_type
        or CODE.search(entry.filename)
        or entry.filename.endswith(OBJECTS)
    ]
    if sum(each.file_size for each in limited) > COMPRESSED_BYTES:
        raise ProgramRefused(
            f"it has more than {COMPRESSED_BYTES >> 20} MiB of code, pickles or compressed data"
        )
    if sum(entry.compress_size for entry in entries) > file.seek(0, io.SEEK_END):
        # Thousands of entries that name the same gigabyte would be read one after the other.
        raise ProgramRefused("its entries share their data")
    return archive


def checked_archive(data: bytes) -> io.BytesIO:
    """The archive that torch may load.

    Raises:
        ProgramRefused: with what a classifier does not need.
    """
    try:
        with open_archive(io.BytesIO(data)) as archive:
            # What torch needs, by name without the archive's folder. The manifest and all else is
            # left out.
            entries: dict[str, bytes] = {}
            for entry in archive.infolist():
                name = entry.filename.partition("/")[2]
                is_fixed = name in FORMAT or name in OBJECTS
                if entry.compress_type in COMPRESSIONS and (
                    is_fixed or CODE.fullmatch(name) or STORAGE.fullmatch(name)
                ):
                    entries[name] = archive.read(entry)

        return _rebuild(entries)
    except RecursionError as error:
        raise ProgramRefused("its code is nested too deeply") from error
    except DAMAGED as error:
        raise ProgramRefused("it is not a TorchScript file, or damaged") from error


def _rebuild(entries: dict[str, bytes]) -> io.BytesIO:
    program = check_code(
        {match[1]: entries[match[0]] for match in map(CODE.fullmatch, entries) if match}
    )
    check_module(entries, program)
    check_constants(entries)
    rebuilt = io.BytesIO()
    with zipfile.ZipFile(rebuilt, "w") as archive:
        for name, data in entries.items():
            if name in FORMAT and not FORMAT[name].fullmatch(data):
                raise ProgramRefused(f"it is of an unknown format ({name})")
            if not CODE.fullmatch(name):
                archive.writestr(f"{ROOT}/{name}", data)
        for path, source in program.sources.items():
            archive.writestr(f"{ROOT}/code/{path}", source)
    rebuilt.seek(0)
    return rebuilt
