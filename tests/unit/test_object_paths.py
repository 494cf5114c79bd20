"""Addresses in buckets behave as paths and are no names of files."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagger.errors import ObjectAddressInvalid, ObjectUnsupported
from tagger.photos.paths import ObjectPath, absolute_path, parse_path, path_from_json, path_to_json

PART = st.text(min_size=1, max_size=20).filter(
    lambda part: part not in {".", ".."} and "/" not in part and "\0" not in part and part.isprintable()
)


def test_an_address_has_the_parts_of_a_path() -> None:
    path = parse_path("s3://holidays/2019/a b.jpg")
    assert isinstance(path, ObjectPath)
    assert (str(path), path.scheme, path.bucket, path.key) == (
        "s3://holidays/2019/a b.jpg",
        "s3",
        "holidays",
        "2019/a b.jpg",
    )
    assert (str(path.parent), path.name) == ("s3://holidays/2019", "a b.jpg")
    assert str(path.relative_to(parse_path("s3://holidays"))) == "2019/a b.jpg"
    assert not path.is_relative_to(Path("/holidays"))
    assert not Path("/holidays/2019").is_relative_to(path)


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
def test_what_a_command_line_makes_of_an_address_is_the_address(scheme: str) -> None:
    path = parse_path(Path(f"{scheme}://holidays/2019/"))
    assert str(path) == f"{scheme}://holidays/2019"
    assert path == parse_path(f"{scheme}://holidays/2019")
    assert absolute_path(Path(str(path))) == path.resolve() == path


@given(st.lists(PART, max_size=4))
def test_an_address_survives_json_and_pickle(parts: list[str]) -> None:
    path = parse_path("/".join(["s3://holidays", *parts]))
    assert isinstance(path, ObjectPath)
    assert path.key == "/".join(parts)
    assert path_from_json(path_to_json(path)) == path
    assert pickle.loads(pickle.dumps(path)) == path


@pytest.mark.parametrize("text", ["/photos/s3:/x", "photos/s3:", "s3", "https://host/x", "./x"])
def test_other_paths_stay_paths(text: str) -> None:
    assert type(parse_path(text)) is type(Path())


@pytest.mark.parametrize("text", ["s3://", "s3://AKIA:secret@holidays/x", "s3://holidays/../other", "gs:/x"])
def test_an_invalid_address_is_refused_without_naming_it(text: str) -> None:
    with pytest.raises(ObjectAddressInvalid) as refused:
        parse_path(text)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("s3:/", "write it as s3://BUCKET/PREFIX"),
        ("S3://holidays", "write s3:// in lower case"),
        ("gs://Holidays/2019", "names of buckets are in lower case"),
    ],
)
def test_the_refusal_of_an_address_says_how_to_write_it(text: str, reason: str) -> None:
    with pytest.raises(ObjectAddressInvalid, match=reason):
        parse_path(text)


@pytest.mark.parametrize(
    "access",
    [
        Path.exists,
        Path.read_bytes,
        Path.unlink,
        os.fspath,
        os.path.realpath,
        open,
    ],
)
def test_the_system_never_takes_an_address_for_a_file(
    access: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:" / "holidays").mkdir(parents=True)
    (tmp_path / "s3:" / "holidays" / "a.jpg").write_bytes(b"a file of that name")
    with pytest.raises(ObjectUnsupported, match=r"s3://holidays/a\.jpg is in a bucket"):
        access(parse_path("s3://holidays/a.jpg"))
