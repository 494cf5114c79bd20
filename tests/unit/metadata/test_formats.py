"""Every format: blocks are added, replaced and removed without other changes, and what cannot be is refused."""

import hashlib
import io
import json
import random
import struct
import zlib
from base64 import b64decode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from rig.containers import jpeg_segment, photoshop, png_chunk, resource
from rig.mutations import broken
from rig.odd_photos import small_photos
from support.examples import examples
from support.format_photos import (
    EXIF_NAME,
    IMAGE,
    LARGE,
    SMALL,
    XMP_NAME,
    check_all_sizes,
    encode_photo,
    exif_block,
    refusal,
    write_and_check,
    write_and_check_pixels,
)

from tagger.database import Outcome, Target
from tagger.metadata import NamedLandmark, RefusalKind, TagFields, WriteRefused, make_tag_fields
from tagger.metadata.formats import (
    difference_outside_blocks,
    is_jpeg,
    may_hold_tags,
    read_blocks,
    replace_blocks,
)
from tagger.metadata.formats.jpeg import Splice, apply_splices, extended_xmp, inverse_of, undo_splices
from tagger.metadata.photo_files import photo_fields, xmp_fields
from tagger.metadata.photo_writer import PhotoWriteRequest, plan_photo, prepare_photo
from tagger.metadata.plans import UndoRecord, digest_file
from tagger.photos.formats import Blocks, digest_photo

PLAIN = encode_photo("JPEG")
JFIF_END = 20
EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
MORE_XMP = jpeg_segment(0xE1, XMP_NAME + SMALL)


def with_segments(data: bytes, *segments: bytes) -> bytes:
    """The photo with segments inserted after its JFIF segment."""
    return data[:JFIF_END] + b"".join(segments) + data[JFIF_END:]


def refusal_of_xmp(data: bytes) -> RefusalKind:
    before = read_blocks(data)
    return refusal(data, Blocks(LARGE, before.exif, before.iptc))


@pytest.mark.parametrize(
    "data",
    [
        PLAIN,
        encode_photo("JPEG", exif=EXIF_NAME + exif_block()),
        encode_photo("JPEG", IMAGE.convert("L"), icc_profile=b"profile" * 20_000),
        encode_photo("JPEG", IMAGE.convert("CMYK"), comment=b"a comment"),
        encode_photo("JPEG", restart_marker_blocks=1),
        PLAIN[:JFIF_END] + b"\xff\xff" + PLAIN[JFIF_END:],
    ],
)
def test_xmp_is_added_and_removed_without_other_changes(data):
    check_all_sizes(data)


def test_new_blocks_come_before_existing_ones_and_fill_a_segment():
    data = write_and_check(write_and_check(PLAIN, xmp=SMALL), exif=exif_block())
    assert data.index(EXIF_NAME) < data.index(XMP_NAME)
    assert Image.open(io.BytesIO(data)).getexif()[271] == "a camera"
    write_and_check(PLAIN, xmp=b"x" * 65_504)
    assert refusal(PLAIN, Blocks(xmp=b"x" * 65_505)) == RefusalKind.TOO_LARGE
    assert refusal(PLAIN, Blocks(exif=b"x" * 65_528)) == RefusalKind.TOO_LARGE
    write_and_check(TWO_XMP, exif=exif_block())
    write_and_check(TWO_EXIF, xmp=LARGE)


TWO_XMP = with_segments(PLAIN, MORE_XMP, MORE_XMP)
TWO_EXIF = with_segments(PLAIN, jpeg_segment(0xE1, EXIF_NAME + exif_block()) * 2)


@pytest.mark.parametrize(
    ("data", "new_blocks"),
    [
        (TWO_XMP, Blocks(xmp=LARGE)),
        (TWO_EXIF, Blocks(exif=exif_block("b"))),
        (with_segments(PLAIN, jpeg_segment(0xE1, XMP_NAME[:-1] + SMALL)), Blocks(xmp=LARGE)),
        (with_segments(PLAIN, jpeg_segment(0xE1, b"Exif\0\xff" + exif_block())), Blocks(exif=exif_block())),
        (PLAIN[:-2], Blocks(xmp=LARGE)),
        (with_segments(PLAIN, b"junk"), Blocks(xmp=LARGE)),
        (PLAIN[:2] + jpeg_segment(0xE5, b"") * 100_001 + PLAIN[2:], Blocks(xmp=SMALL)),
    ],
)
def test_ambiguous_and_broken_files_are_refused(data, new_blocks):
    assert refusal(data, new_blocks) == RefusalKind.STRUCTURE


def test_xmp_exif_and_extended_xmp_are_read_and_stay():
    parts = [EXTENSION + b"0123456789ABCDEF" * 2 + struct.pack(">II", 17, at) for at in (0, 10)]
    segments = (jpeg_segment(0xE1, parts[0] + b"a" * 10), jpeg_segment(0xE1, parts[1] + b"b" * 7))
    data = with_segments(PLAIN, MORE_XMP, *segments)
    assert extended_xmp(data) == b"a" * 10 + b"b" * 7
    assert extended_xmp(write_and_check_pixels(data, xmp=LARGE)) == extended_xmp(data)
    assert extended_xmp(PLAIN) == b""
    info = PngInfo()
    info.add_itxt(NAME[:-1].decode(), SMALL.decode(), zip=True)
    assert read_blocks(encode_photo("PNG", pnginfo=info)).xmp == SMALL
    prefixed = png_chunk(b"eXIf", b"Exif\0\0" + exif_block())
    png = encode_photo("PNG")
    assert read_blocks(png[:33] + prefixed + png[33:]).exif == exif_block()
    webp = read_blocks(encode_photo("WEBP", xmp=SMALL, exif=b"Exif\0\0" + exif_block()))
    assert (webp.xmp, webp.exif) == (SMALL, exif_block())
    assert read_blocks(encode_photo("TIFF", IMAGE)).xmp is None


# --- IPTC among Photoshop's resources.

IPTC = b"\x1c\x02\x19\x00\x05Paris"


OTHERS = (resource(0x03ED, b"x" * 16), resource(0x0BB7, b"odd", b"\x03abc"))


def digest(iptc: bytes) -> bytes:
    return resource(0x0425, hashlib.md5(iptc).digest())


def test_iptc_is_replaced_or_added_and_a_right_digest_updated():
    data = with_segments(PLAIN, photoshop(OTHERS[0], resource(0x0404, IPTC), digest(IPTC), OTHERS[1]))
    assert read_blocks(data).iptc == IPTC
    other = write_and_check_pixels(data, iptc=IPTC + b"!")
    assert photoshop(OTHERS[0], resource(0x0404, IPTC + b"!"), digest(IPTC + b"!"), OTHERS[1]) in other
    without = write_and_check_pixels(other, iptc=None)
    assert photoshop(OTHERS[0], digest(b""), OTHERS[1]) in without
    assert photoshop(OTHERS[0], digest(IPTC), OTHERS[1], resource(0x0404, IPTC)) in write_and_check_pixels(
        without, iptc=IPTC
    )
    data = with_segments(PLAIN, photoshop(resource(0x0404, IPTC), digest(b"another")))
    assert digest(b"another") in write_and_check_pixels(data, iptc=IPTC + b"!")
    corrected = data.replace(digest(b"another"), digest(IPTC))
    assert difference_outside_blocks(data, corrected) == "the digest of IPTC"
    assert photoshop(*OTHERS, resource(0x0404, IPTC)) in write_and_check_pixels(
        with_segments(PLAIN, photoshop(*OTHERS)), iptc=IPTC
    )
    alone = write_and_check_pixels(PLAIN, iptc=IPTC)
    assert write_and_check_pixels(alone, iptc=None) == PLAIN


@pytest.mark.parametrize(
    "segments",
    [
        (
            photoshop(resource(0x0404, IPTC)),
            photoshop(resource(0x0404, IPTC)),
        ),
        (photoshop(resource(0x0404, IPTC), resource(0x0404, IPTC)),),
        (photoshop(resource(0x0404, IPTC), b"something else"),),
        (photoshop(resource(0x0404, IPTC)), photoshop(b"the rest of a resource")),
    ],
)
def test_duplicate_or_unreadable_iptc_is_refused(segments):
    data = with_segments(PLAIN, *segments)
    assert refusal(data, Blocks(iptc=IPTC * 2)) == RefusalKind.STRUCTURE
    write_and_check_pixels(data, xmp=LARGE)


# --- Several images in one file.


def mpo(order: str = "<") -> bytes:
    """A photo followed by a second image, in either byte order."""
    second, head = encode_photo("JPEG", IMAGE.rotate(180), quality=30), {"<": b"II*\0", ">": b"MM\0*"}[order]
    tags = ((0xB000, 7, 4, b"0100"), (0xB001, 4, 1, struct.pack(order + "I", 2)))
    packed = b"".join(
        struct.pack(order + "HHI", tag, kind, count) + value for tag, kind, count, value in tags
    )
    packed += struct.pack(order + "HHII", 0xB002, 7, 32, 50)
    size = 4 + 4 + 8 + 2 + 36 + 4 + 32
    base, total = JFIF_END + 8, len(PLAIN) + size
    entries = struct.pack(order + "IIIHHIIIHH", 0x030000, total, 0, 0, 0, 0, len(second), total - base, 0, 0)
    index = head + struct.pack(order + "IH", 8, 3) + packed + bytes(4) + entries
    data = with_segments(PLAIN, jpeg_segment(0xE2, b"MPF\0" + index)) + second
    assert len(index) + 8 == size
    return data


@pytest.mark.parametrize("order", "<>")
def test_every_image_of_a_multi_picture_file_is_found(order):
    check_all_sizes(mpo(order))
    with Image.open(io.BytesIO(write_and_check(mpo(order), xmp=LARGE, exif=exif_block()))) as image:
        assert image.n_frames == 2


def test_images_are_found_when_either_side_of_the_index_grows():
    behind = write_and_check(mpo(), xmp=SMALL)
    index, xmp = behind.index(b"MPF\0"), behind.index(XMP_NAME)
    assert xmp < index
    # The same with XMP after the index, as other programs write it.
    other = write_and_check(mpo(), xmp=None)
    at = JFIF_END + 90
    fixed = bytearray(other[:at] + MORE_XMP + other[at:])
    entries = fixed.index(b"MPF\0") + 4 + 50
    for place, grown in ((entries + 4, len(MORE_XMP)), (entries + 24, len(MORE_XMP))):
        struct.pack_into("<I", fixed, place, struct.unpack_from("<I", fixed, place)[0] + grown)
    check_all_sizes(bytes(fixed))


def test_sizes_and_offsets_of_several_pictures_stay_right_or_are_refused():
    data = mpo()
    at = data.index(b"MPF\0") + 4 + 50 + 4
    wrong = data[:at] + struct.pack("<I", 17) + data[at + 4 :]
    new = write_and_check_pixels(wrong, xmp=LARGE)
    at = new.index(b"MPF\0") + 4 + 50 + 4
    assert struct.unpack_from("<I", new, at) == (17,)
    assert difference_outside_blocks(data, with_segments(data, MORE_XMP)) == "the images after the first"
    at = data.index(b"MPF\0") + 4 + 50 + 24
    (offset,) = struct.unpack_from("<I", data, at)
    moved = data[:at] + struct.pack("<I", offset + 1) + data[at + 4 :]
    for wrong in (moved, data.replace(b"MPF\0II*\0", b"MPF\0II+\0")):
        assert refusal_of_xmp(wrong) == RefusalKind.OFFSETS


# --- Offsets.


def exif_with_note(note: bytes) -> bytes:
    inner = struct.pack("<HHHII", 1, 0x927C, 7, len(note), 44) + bytes(4)
    return (
        b"II*\0" + struct.pack("<I", 8) + struct.pack("<HHHII", 1, 0x8769, 4, 1, 26) + bytes(4) + inner + note
    )


def with_note(note: bytes, trailer: bytes, data: bytes = PLAIN) -> bytes:
    return with_segments(data, jpeg_segment(0xE1, EXIF_NAME + exif_with_note(note))) + trailer


def sefh(*blocks: bytes) -> bytes:
    """Samsung's trailer: blocks, then a directory of them."""
    entries, ahead_of_it = b"", sum(map(len, blocks))
    for block in blocks:
        entries += struct.pack("<HHII", 0, 0x0A30, ahead_of_it, len(block))
        ahead_of_it -= len(block)
    directory = b"SEFH" + struct.pack("<II", 106, len(blocks)) + entries
    return b"".join(blocks) + directory + struct.pack("<I", len(directory)) + b"SEFT"


VIDEO = struct.pack(">I", 24) + b"ftypmp42" + bytes(12) + b"a video"
KNOWN_TRAILERS = {
    "padding": bytes(512),
    "video behind padding": bytes(64) + VIDEO,
    "Samsung": sefh(b"\0\0\x30\x0a" + b"some time", b"\0\0\x30\x0a" + VIDEO),
}


@pytest.mark.parametrize("kind", KNOWN_TRAILERS)
def test_recognised_trailers_stay_and_unknown_data_before_them_are_refused(kind):
    data = with_note(b"a note of the camera", KNOWN_TRAILERS[kind])
    check_all_sizes(data)
    assert write_and_check(data, xmp=LARGE).endswith(KNOWN_TRAILERS[kind])
    preview = encode_photo("JPEG", IMAGE.resize((16, 16)))
    trailer = preview + KNOWN_TRAILERS[kind]
    assert refusal_of_xmp(with_note(b"a note of the camera", trailer)) == RefusalKind.OFFSETS


def test_what_writing_would_break_is_refused():
    afcp = b"AXS!" + struct.pack(">II", len(PLAIN), 0)
    for trailer in (encode_photo("JPEG", IMAGE.resize((16, 16))), b"some notes", afcp):
        assert refusal_of_xmp(PLAIN + trailer) == RefusalKind.OFFSETS
    base = mpo()
    head = b"SONY DSC \0\0\0"
    grown = len(with_segments(b"", jpeg_segment(0xE1, EXIF_NAME + exif_with_note(head + bytes(18)))))
    target = base.rindex(b"\xff\xd8\xff") + grown - (JFIF_END + 4 + len(EXIF_NAME))
    note = head + struct.pack("<HHHII", 1, 0x2001, 7, 900, target) + bytes(4)
    data = apply_splices(base, replace_blocks(base, Blocks(exif=exif_with_note(note))))
    assert read_blocks(data).exif == exif_with_note(note)
    assert refusal_of_xmp(data) == RefusalKind.OFFSETS
    write_and_check_pixels(
        apply_splices(base, replace_blocks(base, Blocks(exif=exif_with_note(b"a note")))), xmp=LARGE
    )
    first = struct.pack("<HHHII", 1, 274, 3, 1, 1) + struct.pack("<I", 26)
    second = struct.pack("<HHHIIHHII", 2, 0x0201, 4, 1, 400, 0x0202, 4, 1, 50) + bytes(4)
    exif = b"II*\0" + struct.pack("<I", 8) + first + second
    assert refusal_of_xmp(with_segments(PLAIN, jpeg_segment(0xE1, EXIF_NAME + exif))) == RefusalKind.OFFSETS
    write_and_check_pixels(with_segments(PLAIN, jpeg_segment(0xE1, EXIF_NAME + exif + bytes(500))), xmp=LARGE)
    credentials = jpeg_segment(0xEB, b"JP\0\x01\0\0\0\x01\0\0\0\x50jumb\0\0\0\x1ejumdc2pa")
    assert refusal_of_xmp(with_segments(PLAIN, credentials)) == RefusalKind.SIGNED


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"BM", b"\0\0\0\x18ftypheic", b"%PDF"])
def test_other_formats_are_not_written(data):
    assert not may_hold_tags(data)
    assert refusal(data, Blocks(xmp=SMALL)) == RefusalKind.FORMAT


@pytest.mark.slow
def test_hostile_files_take_linear_time():
    write_and_check(PLAIN[:2] + MORE_XMP * 20_000 + PLAIN[2:], exif=exif_block())
    write_and_check(PLAIN[:-2] + b"\xff\xd0" * 1_000_000 + PLAIN[-2:], xmp=SMALL)
    write_and_check(PLAIN[:2] + b"\xff" * 1_000_000 + PLAIN[2:], xmp=SMALL)


FACE = IMAGE.resize((16, 12))
JPEG = encode_photo("JPEG", FACE, quality=20, exif=EXIF_NAME + exif_block())
PHOTO_IPTC = photoshop(resource(0x0404, b"iptc"), resource(0x0425, bytes(16)))
PHOTOS = {kind: data for kind, data in small_photos().items() if is_jpeg(data)} | {
    "iptc": JPEG[:20] + PHOTO_IPTC + JPEG[20:],
    "small mpo": encode_photo("MPO", FACE, quality=20, save_all=True, append_images=[FACE.rotate(180)]),
}
blocks = st.one_of(
    st.none(), st.sampled_from([SMALL, LARGE, exif_block()]), st.binary(min_size=1, max_size=70_000)
)
HEADS = [
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR",
    b"RIFF\x40\0\0\0WEBPVP8 ",
    b"II*\0\x08\0\0\0\x02\0",
    b"MM\0+\0\x08\0\0",
    JPEG[:-2],
]


def write_or_refuse(data: bytes, **new_blocks: bytes | None) -> bool:
    """Write the blocks and check that nothing else changed. Returns False if the file is refused."""
    try:
        before = read_blocks(data)
        blocks_to_write = replace(before, **new_blocks)
        splices = replace_blocks(data, blocks_to_write)
    except WriteRefused:
        return False
    new = apply_splices(data, splices)
    assert difference_outside_blocks(data, new) is None
    assert undo_splices(new, inverse_of(data, splices)) == data
    assert read_blocks(new) == blocks_to_write
    if blocks_to_write.exif == before.exif:
        assert digest_photo(new) == digest_photo(data)
    return True


@examples(100)
@given(kind=st.sampled_from(sorted(PHOTOS)), seed=st.integers(0, 2**32), xmp=blocks, exif=blocks, iptc=blocks)
def test_broken_photos_accept_all_blocks_or_are_refused(kind, seed, xmp, exif, iptc):
    data = broken(PHOTOS[kind], list(PHOTOS.values()), random.Random(seed))
    write_or_refuse(data, xmp=xmp, exif=exif, iptc=iptc)


@examples(125)
@given(head=st.sampled_from([b"", *HEADS]), tail=st.binary(max_size=300))
@example(head=b"II*\0\x08\0\0\0", tail=b"\xff\xff")
def test_arbitrary_bytes_are_refused_or_written(head, tail):
    write_or_refuse(head + tail, xmp=SMALL)
    difference_outside_blocks(head + tail, tail)
    difference_outside_blocks(JPEG, head + tail)
    with suppress(WriteRefused):
        extended_xmp(head + tail)


def test_valid_photos_are_written():
    for data in PHOTOS.values():
        assert write_or_refuse(data, xmp=LARGE)
        write_or_refuse(data, xmp=None)


PHOTOSHOP = photoshop(resource(0x0404, b"iptc"), resource(0x03ED, b"ab"))
COMPARED_JPEG = (
    encode_photo("JPEG", FACE, quality=20, exif=EXIF_NAME + exif_block(), comment=b"a comment")
    + b"\0\0\0\x18ftyp a video"
)
COMPARED_PHOTOS = {
    "jpeg": COMPARED_JPEG[:20] + PHOTOSHOP + COMPARED_JPEG[20:],
    "mpo": encode_photo("MPO", FACE, quality=20, save_all=True, append_images=[FACE.rotate(180)]),
}


def ignored_bytes(data: bytes) -> list[range]:
    """The bytes of the blocks, and of what refers to them, which the comparison ignores."""
    blocks = read_blocks(data)
    existing = [block for block in (blocks.xmp, blocks.exif, blocks.iptc) if block]
    return [range(data.index(block) - 40, data.index(block) + len(block) + 8) for block in existing]


@pytest.mark.parametrize("kind", COMPARED_PHOTOS)
def test_changed_byte_outside_of_the_blocks_is_noticed(kind):
    data = COMPARED_PHOTOS[kind]
    new = write_and_check(data, xmp=SMALL)
    ignored = ignored_bytes(new)
    rng = random.Random(kind)
    unnoticed = []
    for at in range(len(new)):
        if not any(at in span for span in ignored):
            changed = new[:at] + bytes([new[at] ^ rng.randrange(1, 256)]) + new[at + 1 :]
            if difference_outside_blocks(data, changed) is None:
                unnoticed.append(at)
    assert unnoticed == []


@pytest.mark.parametrize("kind", COMPARED_PHOTOS)
def test_missing_and_extra_bytes_are_noticed(kind):
    data = COMPARED_PHOTOS[kind]
    new = write_and_check(data, xmp=LARGE)
    start = max((span.stop for span in ignored_bytes(new)), default=0)
    for at in range(start, len(new) - 1, 7):
        assert difference_outside_blocks(data, new[:at] + new[at + 1 :])
        assert difference_outside_blocks(data, new[:at] + b"x" + new[at:])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (COMPARED_PHOTOS["jpeg"], encode_photo("PNG", FACE)),
        (COMPARED_PHOTOS["jpeg"], b""),
        (b"", b""),
        (b"GIF89a", b"GIF89a"),
        (encode_photo("PNG", FACE), encode_photo("PNG", FACE)),
        (COMPARED_JPEG, with_segments(COMPARED_JPEG, jpeg_segment(0xE1, EXIF_NAME + exif_block("b")))),
    ],
)
def test_files_that_cannot_be_compared_and_second_blocks_of_a_kind_differ(before, after):
    assert difference_outside_blocks(before, after)


# What version 1.1 embedded into files of each format: the whole file, its undo record, and the digest of the original.
EMBEDDED: Mapping[str, Mapping[str, str]] = json.loads(
    (Path(__file__).parents[2] / "released" / "embedded-1.1.json").read_text()
)
TAGS = make_tag_fields((NamedLandmark("big-ben", "Big Ben", "United Kingdom"),))
NAME = b"XML:com.adobe.xmp\0"


def written_in(folder: Path, name: str) -> tuple[Path, dict[str, UndoRecord]]:
    """A file as version 1.1 left it, with its undo record."""
    path = folder / name
    path.write_bytes(zlib.decompress(b64decode(EMBEDDED[name]["written"])))
    digest = digest_file(path.read_bytes())
    return path, {digest: UndoRecord(digest, EMBEDDED[name]["original"], b64decode(EMBEDDED[name]["undo"]))}


def write(path: Path, tags: TagFields, target: Target | None, records: Mapping[str, UndoRecord]) -> Outcome:
    request = PhotoWriteRequest(path, path.parent, 2**26, frozenset({Target.EMBED}), (), target, tags)
    photo = prepare_photo(plan_photo(request, records.get))
    photo.replace_files()
    return photo.outcome


@pytest.mark.parametrize("name", EMBEDDED)
def test_what_version_1_embedded_is_undone_byte_for_byte(tmp_path, name):
    path, records = written_in(tmp_path, name)
    assert "Eiffel Tower" in photo_fields(path.read_bytes())["XMP:dc:subject"]
    assert write(path, TagFields(), None, records) is Outcome.WRITTEN
    assert digest_file(path.read_bytes()) == EMBEDDED[name]["original"]
    assert [file.name for file in tmp_path.iterdir()] == [name]
    expected = ["holiday"] if name.startswith("keyword") else None
    assert photo_fields(path.read_bytes()).get("XMP:dc:subject") == expected


@pytest.mark.parametrize("name", EMBEDDED)
def test_further_tags_go_into_a_sidecar(tmp_path, name):
    path, records = written_in(tmp_path, name)
    before = path.read_bytes()
    assert write(path, TAGS, Target.EMBED, records) is Outcome.REFUSED
    assert path.read_bytes() == before
    keywords = xmp_fields(path.with_name(f"{name}.xmp").read_bytes())["XMP:dc:subject"]
    assert keywords == [*(["holiday"] if name.startswith("keyword") else []), "Big Ben"]


@pytest.mark.parametrize("name", ["keyword.png", "keyword.webp", "keyword.tif"])
def test_a_file_that_others_changed_since_is_left_alone(tmp_path, name):
    path, records = written_in(tmp_path, name)
    path.write_bytes(path.read_bytes().replace(b"holiday", b"holidax"))
    before = path.read_bytes()
    for known in (records, {}):
        refusal = undo_refusal(path, known)
        assert "another program has changed it since" in refusal.text
        assert refusal.kind is RefusalKind.FORMAT
    assert path.read_bytes() == before


def undo_refusal(path: Path, records: Mapping[str, UndoRecord]) -> WriteRefused:
    request = PhotoWriteRequest(path, path.parent, 2**26, frozenset({Target.EMBED}))
    plan = plan_photo(request, records.get)
    assert plan.refusal is not None
    return plan.refusal


@pytest.mark.parametrize("name", ["plain.png", "plain.webp", "plain.tif", "big.tif"])
def test_a_forged_record_does_not_change_the_image(tmp_path, name):
    path, _ = written_in(tmp_path, name)
    written = path.read_bytes()
    Image.new("RGB", (12, 8), "red").save(other := tmp_path / f"other-{name}")
    forged = other.read_bytes()
    other.unlink()
    inverse = inverse_of(forged, (Splice(0, len(forged), written),))
    record = UndoRecord(digest_file(written), digest_file(forged), inverse)
    refusal = undo_refusal(path, {digest_file(written): record})
    assert "would have changed other data" in refusal.text
    assert path.read_bytes() == written


@pytest.mark.parametrize(
    "packed", [b"not packed", zlib.compress(bytes(17 * 2**20)), zlib.compress(SMALL)[:-3]]
)
def test_a_packed_text_that_cannot_be_read_is_refused(packed):
    png = encode_photo("PNG")
    data = png[:33] + png_chunk(b"iTXt", NAME + b"\1\0\0\0" + packed) + png[33:]
    assert may_hold_tags(data)
    with pytest.raises(WriteRefused, match="the XMP chunk"):
        read_blocks(data)
