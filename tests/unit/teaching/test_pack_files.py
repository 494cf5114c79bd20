"""Files of packs: written and read again; whatever else a file has, it is refused with one error, or is harmless."""

import json
import math
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
    PackChecker,
    PackedLandmark,
    PackEmbedding,
    PackManifest,
    encode_pack,
    read_pack,
)
from tagger.model.artifact import BackgroundStatistics

DIMENSION = 12
GENERATOR = np.random.default_rng(0)
STRANGERS = GENERATOR.normal(0.4, 0.1, (400, DIMENSION)).astype(np.float32)
SPACE = EmbeddingSpace.of(BackgroundStatistics.measured(STRANGERS))
PLACES = GENERATOR.normal(0.4, 0.3, (2, DIMENSION)).astype(np.float32)


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
