"""Whole photos written as jobs write them, read back, changed by others, and taken back: every kind, real and generated."""

import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import pytest
from exif_blocks import block, blocks, camera_block
from format_photos import PICTURE, chunk, frames, saved, segment
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import ImageCms
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from bench.second_opinion import Fields, is_installed, lost_fields, new_warnings, owners_fields, said_of
from tagger.metadata import xmp
from tagger.metadata.additions import Additions, NamedLandmark, additions_for
from tagger.metadata.described import packet_of, photo_fields
from tagger.metadata.planning import Kept
from tagger.photos import digest_photo
from tagger.tables import Outcome, Target
from tagger.writing.photo import PhotoToWrite, make_ready, plan_photo

TOWER = NamedLandmark(
    "eiffel-tower",
    "Eiffel Tower",
    "France",
    "Île-de-France",
    "Paris",
    48.8584,
    2.2945,
    "point",
    0.93,
    "m",
)
ARCH = replace(TOWER, slug="arch", name="Arc de Triomphe de l'Étoile", latitude=48.8738, score=None)
BOTH = additions_for((TOWER, ARCH), gps=True, description=True)
OTHERS = additions_for((ARCH,))
MAX_BYTES = 2**26
NO_EXIFTOOL = "exiftool, a second opinion on metadata, is not installed (Debian: libimage-exiftool-perl)"


@dataclass
class Written:
    """A photo in a folder of its own, and what was kept of all its writes."""

    path: Path
    original: bytes
    kept: dict[str, Kept] = field(default_factory=dict)

    def write(self, additions: Additions, target: Target = Target.EMBED) -> Outcome:
        return self._make_so(PhotoToWrite(self.path, None, additions, target, self._places, MAX_BYTES))

    def undo(self) -> None:
        self._make_so(PhotoToWrite(self.path, None, Additions(), None, frozenset(Target), MAX_BYTES))

    @property
    def data(self) -> bytes:
        return self.path.read_bytes()

    def wrong_after_undo(self) -> Iterator[str]:
        if self.data != self.original:
            yield "is not the same"
        if beside := [file.name for file in self.path.parent.iterdir() if file != self.path]:
            yield f"is not alone: {beside}"

    @property
    def _places(self) -> frozenset[Target]:
        return frozenset(Target) if self.kept else frozenset()

    def _make_so(self, photo: PhotoToWrite) -> Outcome:
        ready = make_ready(plan_photo(photo, self.kept.get))
        ready.put_in_place()
        plans = [each.plan for each, _ in ready.replaced]
        self.kept |= {plan.kept.written: plan.kept for plan in plans if plan.kept}
        return ready.outcome


def new_photo(folder: Path, data: bytes, name: str = "photo") -> Written:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(data)
    return Written(path, data)


def wrong_with(photo: Written) -> Iterator[str]:
    """All that must hold of a photo whatever it is, in words where it does not."""
    outcome = photo.write(BOTH)
    new = photo.data
    if outcome is Outcome.REFUSED:
        if new != photo.original:
            yield "was refused and changed"
    else:
        yield from _wrong_when_embedded(photo.original, new)
    if photo.write(BOTH) is Outcome.WRITTEN or photo.data != new:
        yield "changes when it is written again"
    photo.write(OTHERS)
    photo.undo()
    yield from photo.wrong_after_undo()


def _wrong_when_embedded(original: bytes, new: bytes) -> Iterator[str]:
    before, after = photo_fields(original), photo_fields(new)
    if [landmark.slug for landmark in xmp.landmarks(packet_of(new))] != ["eiffel-tower", "arch"]:
        yield "does not say which landmarks were written"
    if not {word.casefold() for word in BOTH.keywords} <= {
        word.casefold() for word in after["XMP:dc:subject"]
    }:
        yield "has not the keywords"
    if digest_photo(new) != digest_photo(original):
        yield "is another picture"
    yield from (f"has another {name}" for name in before if not _is_there(before[name], after.get(name)))


def _is_there(was: str | list[str], now: str | list[str] | None) -> bool:
    if isinstance(was, list):
        return set(was) - {""} <= set(now or [])
    return was == now or str(now).startswith(f"{was};") or not was.split("=")[-1].strip()


# --- Real photos.


@cache
def real_photos(test_data: Path) -> dict[str, bytes]:
    found = sorted(path for name in ("exif", "originals") for path in (test_data / name).rglob("*"))
    files = [path for path in found if path.is_file()]
    return {f"{number:03}-{path.name}": path.read_bytes() for number, path in enumerate(files)}


def test_every_real_photo_is_written_read_back_and_taken_back(test_data: Path, tmp_path: Path) -> None:
    wrong = []
    for name, data in real_photos(test_data).items():
        if data:
            wrong += [f"{name} {what}" for what in wrong_with(new_photo(tmp_path / "one", data, name))]
            (tmp_path / "one" / name).unlink()
    assert wrong == []


@pytest.fixture(scope="module")
def written(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the real photos that take metadata: before and after."""
    folder = tmp_path_factory.mktemp("written")
    for name in ("before", "after"):
        (folder / name).mkdir()
    for name, data in real_photos(test_data).items():
        photo = new_photo(folder / "one", data, name)
        if data and photo.write(BOTH) is Outcome.WRITTEN:
            (folder / "before" / name).write_bytes(data)
            photo.path.rename(folder / "after" / name)
        shutil.rmtree(folder / "one")
    return folder


def test_exiftool_finds_ours_and_all_that_was_there_maker_notes_profiles_and_previews_included(
    written: Path,
) -> None:
    if not is_installed():
        pytest.skip(NO_EXIFTOOL)
    before, after = said_of(written / "before"), said_of(written / "after")
    assert before.keys() == after.keys()
    assert len(before) > 150
    kinds = {name.partition(":")[0] for fields in before.values() for name in owners_fields(fields)}
    assert {"MPImage2", "IFD1", "ICC_Profile", "ICC-header", "Nikon", "Canon", "Sony", "IPTC"} <= kinds
    for name, fields in before.items():
        assert (name, lost_fields(fields, after[name]), new_warnings(fields, after[name])) == (name, [], [])
        assert (name, _keywords_in(after[name]) >= set(BOTH.keywords)) == (name, True)


def _keywords_in(fields: Fields) -> set[str]:
    return {str(keyword) for value in fields["XMP-dc:Subject"] for keyword in value}


def test_what_others_did_meanwhile_stays_and_only_ours_goes(written: Path, tmp_path: Path) -> None:
    """The same command over the originals, and over the written files, which then are rid of ours: exiftool sees no difference."""
    if not is_installed():
        pytest.skip(NO_EXIFTOOL)
    names = _small(written / "before")
    for folder, source in (("never", "before"), ("rid", "after")):
        (tmp_path / folder).mkdir()
        for name in names:
            shutil.copy(written / source / name, tmp_path / folder)
        _edit(tmp_path / folder)
    for name in names:
        data = (tmp_path / "rid" / name).read_bytes()
        photo = new_photo(tmp_path / "one", data, name)
        photo.undo()
        assert photo.data != data, name
        (tmp_path / "rid" / name).write_bytes(photo.data)
        assert [file.name for file in (tmp_path / "one").iterdir()] == [name]
        photo.path.unlink()
    never, rid = said_of(tmp_path / "never"), said_of(tmp_path / "rid")
    assert len(never) > 100
    wrong = {name: _differing(fields, rid[name]) for name, fields in never.items()}
    assert {name: fields for name, fields in wrong.items() if fields} == {}
    edited = [name for name in rid if "XMP-xmp:Rating" in rid[name]]
    assert len(edited) > 100


def _differing(one: Fields, other: Fields) -> list[str]:
    """Fields that only one has or that have other values, but for where exiftool put the data that they point to."""
    names = {*lost_fields(one, other), *lost_fields(other, one)}
    return sorted(name for name in names if not name.endswith(("Offset", "Offsets", "Start")))


def _small(folder: Path) -> list[str]:
    """exiftool writes each of these anew, one after the other."""
    return [file.name for file in sorted(folder.iterdir()) if file.stat().st_size < 100_000]


def _edit(folder: Path) -> None:
    changes = ("-XMP:Rating=4", "-XMP-dc:Creator=Somebody", "-XMP-dc:Subject+=theirs")
    command = ["exiftool", "-q", "-overwrite_original", *changes, str(folder)]
    subprocess.run(command, check=False, capture_output=True, timeout=120)


# --- Generated photos.

_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
_XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:lr="http://ns.adobe.com/lightroom/1.0/">
<dc:subject><rdf:Bag>{}</rdf:Bag></dc:subject><lr:hierarchicalSubject><rdf:Bag><rdf:li>People|Oma</rdf:li></rdf:Bag>
</lr:hierarchicalSubject></rdf:Description></rdf:RDF></x:xmpmeta>"""
_WORDS = ("Oma", "eiffel tower", "Paris", "Île", "Eiffel Tower")
words = st.lists(st.sampled_from(_WORDS), max_size=3, unique=True)
trailers = st.sampled_from(
    (
        b"",
        bytes(64),
        struct.pack(">I4s4s", 12, b"ftyp", b"mp42") + b"moov" * 9,
        saved("JPEG", PICTURE.rotate(180)),
        b"whatever this is",
    )
)


SHORT_OF_A_ZERO = block({0x0B: (2, 1, b"\0"), 0xC61A: (5, 3, bytes(24))}, exif={0x829A: (5, 1, bytes(8))})
"""With our position its GPS directory is followed by 48 degrees instead of by nothing, if piexif writes it."""


@dataclass(frozen=True)
class Held:
    """What a generated photo holds; empty: it has no such block."""

    exif: bytes
    xmp: bytes
    iptc: bytes
    icc: bytes
    trailer: bytes


@st.composite
def holdings(draw: st.DrawFn) -> Held:
    keywords = draw(words)
    items = "".join(f"<rdf:li>{word}</rdf:li>" for word in keywords)
    iptc = [*([b"\x1c\x01\x5a\0\3\x1b%G"] if draw(st.booleans()) else []), *map(_dataset, draw(words))]
    return Held(
        exif=draw(st.one_of(st.just(b""), blocks(), st.sampled_from("<>").map(camera_block))),
        xmp=_XMP.format(items).encode() + b" " * draw(st.sampled_from((0, 2000)))
        if draw(st.booleans())
        else b"",
        iptc=b"".join(iptc) if draw(st.booleans()) else b"",
        icc=draw(st.sampled_from((b"", _SRGB))),
        trailer=draw(trailers),
    )


Made = Callable[[Held], bytes]


def _dataset(word: str) -> bytes:
    return struct.pack(">BBBH", 0x1C, 2, 25, len(word.encode())) + word.encode()


def _jpeg(held: Held) -> bytes:
    head = segment(0xE1, b"Exif\0\0" + held.exif) if held.exif else b""
    head += segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + held.xmp) if held.xmp else b""
    if held.iptc:
        resource = b"8BIM\x04\x04\0\0" + len(held.iptc).to_bytes(4, "big") + held.iptc
        head += segment(0xED, b"Photoshop 3.0\0" + resource + bytes(len(held.iptc) % 2))
    plain = saved("JPEG", PICTURE, **({"icc_profile": held.icc} if held.icc else {}))
    return plain[:2] + head + plain[2:] + held.trailer


def _png(held: Held) -> bytes:
    info = PngInfo()
    if held.xmp:
        info.add_itxt("XML:com.adobe.xmp", held.xmp.decode())
    data = saved("PNG", PICTURE, pnginfo=info, **({"icc_profile": held.icc} if held.icc else {}))
    block = chunk(b"eXIf", held.exif) if held.exif else b""
    return data[:33] + block + data[33:] + held.trailer


def _webp(held: Held) -> bytes:
    named = {"exif": held.exif, "xmp": held.xmp, "icc_profile": held.icc}
    return saved("WEBP", PICTURE, **{name: value for name, value in named.items() if value}) + held.trailer


def _tiff(held: Held) -> bytes:
    tags = ImageFileDirectory_v2()
    tags[271] = "a camera"
    if held.xmp:
        tags.tagtype[700], tags[700] = 1, held.xmp
    if held.iptc:
        tags.tagtype[33723], tags[33723] = 7, held.iptc
    return saved("TIFF", PICTURE, tiffinfo=tags, **({"icc_profile": held.icc} if held.icc else {}))


@pytest.mark.parametrize("made", [_jpeg, _png, _webp, _tiff], ids=["JPEG", "PNG", "WebP", "TIFF"])
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # the folder is emptied by each undo
)
@given(held=holdings())
def test_whatever_a_photo_holds_it_is_read_back_and_taken_back(
    made: Made, held: Held, tmp_path: Path
) -> None:
    data = made(held)
    photo = new_photo(tmp_path / "one", data)
    assert list(wrong_with(photo)) == []


@pytest.mark.parametrize("made", [_jpeg, _png, _webp, _tiff], ids=["JPEG", "PNG", "WebP", "TIFF"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(held=holdings())
def test_whatever_a_photo_holds_it_shows_the_same(made: Made, held: Held, tmp_path: Path) -> None:
    photo = new_photo(tmp_path / "one", made(held))
    photo.write(BOTH)
    assert frames(photo.data) == frames(photo.original)
    photo.undo()


@pytest.mark.parametrize("made", [_jpeg, _png, _webp, _tiff], ids=["JPEG", "PNG", "WebP", "TIFF"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(held=holdings())
@example(held=Held(exif=SHORT_OF_A_ZERO, xmp=b"", iptc=b"", icc=b"", trailer=b""))
def test_without_what_was_kept_the_file_itself_tells_what_is_ours(
    made: Made, held: Held, tmp_path: Path
) -> None:
    photo = new_photo(tmp_path / "one", made(held))
    if photo.write(BOTH) is Outcome.REFUSED:
        photo.undo()
        return
    photo.kept.clear()
    photo.undo()
    assert digest_photo(photo.data) == digest_photo(photo.original)
    assert photo_fields(photo.data) == photo_fields(photo.original)
    assert not xmp.is_ours(packet_of(photo.data))


def test_sidecars_of_every_kind_come_and_go(tmp_path: Path) -> None:
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"):
        photo = new_photo(tmp_path / kind, saved(kind))
        assert photo.write(BOTH, Target.SIDECAR) is Outcome.WRITTEN
        assert photo.data == photo.original
        photo.write(OTHERS, Target.SIDECAR)
        photo.undo()
        assert list(photo.wrong_after_undo()) == [], kind


@pytest.mark.parametrize("head", [b"AgHg\x04\x04\0\0", b"8BIM\x04\x04\x03abc"], ids=["signature", "name"])
def test_iptc_stays_under_the_signature_and_name_that_it_has(tmp_path: Path, head: bytes) -> None:
    iptc = _dataset("Oma")
    resource = head + len(iptc).to_bytes(4, "big") + iptc
    plain = saved("JPEG")
    data = plain[:2] + segment(0xED, b"Photoshop 3.0\0" + resource) + plain[2:]
    photo = new_photo(tmp_path / "one", data)
    photo.write(BOTH)
    grown = iptc + _dataset("Eiffel Tower")
    assert head + len(grown).to_bytes(4, "big") + grown in photo.data
    photo.undo()
    assert photo.data == data
