"""The video behind a motion photo: it is no part of the image, and stays, and is found, after tags are written into the photo."""

import re
import struct
from pathlib import Path

import pytest
from rig.containers import jpeg_segment
from support.format_photos import IMAGE, encode_photo

from tagger.database.enums import Outcome, Target
from tagger.metadata import xmp
from tagger.metadata.photo_writer import WriteRequest, plan_photo, prepare_photo, xmp_packet
from tagger.metadata.restored_files import UndoRecord
from tagger.metadata.tag_fields import NamedLandmark, TagFields, make_tag_fields
from tagger.photos.containers import digest_photo

VIDEO = (
    struct.pack(">I", 24) + b"ftypmp42" + bytes(12) + struct.pack(">I", 4008) + b"mdat" + b"\xff\xd8" * 2000
)
OFFSET = str(len(VIDEO))
"""Counted from the end of the file, as all forms do."""
PHOTO = encode_photo("JPEG", IMAGE)
TAGS = make_tag_fields(
    [NamedLandmark("tower", "Tower", latitude=48.86, longitude=2.29, extent="point")], gps=True
)
_HEADER = b"http://ns.adobe.com/xap/1.0/\0"
_PACKET = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:GCamera="http://ns.google.com/photos/1.0/camera/"
 xmlns:Container="http://ns.google.com/photos/1.0/container/" xmlns:Item="http://ns.google.com/photos/1.0/container/item/"
 {}</rdf:Description></rdf:RDF></x:xmpmeta>"""
_VALUES = re.compile(rb'(?:GCamera|Item):\w+="[^"]*"')
FORMS = {
    "micro video": f'GCamera:MicroVideo="1" GCamera:MicroVideoVersion="1" GCamera:MicroVideoOffset="{OFFSET}">',
    "motion photo": f"""GCamera:MotionPhoto="1" GCamera:MotionPhotoVersion="1"><Container:Directory><rdf:Seq>
<rdf:li rdf:parseType="Resource"><Container:Item Item:Mime="image/jpeg" Item:Semantic="Primary" Item:Length="0" Item:Padding="0"/></rdf:li>
<rdf:li rdf:parseType="Resource"><Container:Item Item:Mime="video/mp4" Item:Semantic="MotionPhoto" Item:Length="{OFFSET}" Item:Padding="0"/>
</rdf:li></rdf:Seq></Container:Directory>""",
}


@pytest.fixture(params=FORMS)
def photo(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    packet = _PACKET.format(FORMS[request.param]).encode()
    path = tmp_path / "PXL_1.MP.jpg"
    path.write_bytes(PHOTO[:2] + jpeg_segment(0xE1, _HEADER + packet) + PHOTO[2:] + VIDEO)
    return path


def write(photo: Path, tags: TagFields, target: Target | None, records: dict[str, UndoRecord]) -> Outcome:
    request = WriteRequest(photo, photo.parent, None, tags, target, frozenset(Target), 2**26)
    ready = prepare_photo(plan_photo(request, records.get))
    ready.replace_files()
    records |= {
        file.undo_record.written_digest: file.undo_record for file in ready.replaced if file.undo_record
    }
    return ready.outcome


def test_a_video_is_no_part_of_the_image(photo: Path) -> None:
    assert digest_photo(photo.read_bytes()) == digest_photo(PHOTO) == digest_photo(PHOTO + VIDEO)


def test_the_video_stays_and_is_found_where_the_photo_says(photo: Path) -> None:
    original, records = photo.read_bytes(), dict[str, UndoRecord]()
    assert write(photo, TAGS, Target.EMBED, records) is Outcome.WRITTEN
    written = photo.read_bytes()
    assert len(written) > len(original)
    assert written[-int(OFFSET) :] == VIDEO
    assert written.count(VIDEO) == 1
    assert digest_photo(written) == digest_photo(original)
    packet, before = xmp_packet(written) or b"", xmp_packet(original) or b""
    assert xmp.has_our_fields(packet)
    assert _VALUES.findall(packet) == _VALUES.findall(before) != []
    assert write(photo, TagFields(), None, records) is Outcome.WRITTEN
    assert photo.read_bytes() == original
