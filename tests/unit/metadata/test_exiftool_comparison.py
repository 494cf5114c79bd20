"""The comparison of exiftool's output before and after a write: which fields are lost, which warnings are new."""

import pytest
from rig.exiftool import Fields, lost_fields, new_warnings

BEFORE: Fields = {
    "IFD0:Make": ["Maker"],
    "XMP-dc:Subject": [["mine", "yours"]],
    "IFD0:ImageDescription": ["  "],
    "Photoshop:IPTCDigest": ["aa"],
    "File:CurrentIPTCDigest": ["aa"],
    "Photoshop:Photoshop_Unknown_0x0404": ["another"],
    "System:FileSize": [7],
    "ExifTool:Warning": ["odd"],
}
AFTER: Fields = {
    **BEFORE,
    "XMP-dc:Subject": [["mine", "yours", "ours"]],
    "IFD0:ImageDescription": ["ours"],
    "Photoshop:IPTCDigest": ["bb"],
    "File:CurrentIPTCDigest": ["bb"],
    "Photoshop:Photoshop_Unknown_0x0404": ["another, ours"],
    "System:FileSize": [9],
}


def test_what_only_grows_or_follows_is_not_lost() -> None:
    assert lost_fields(BEFORE, AFTER) == []
    assert new_warnings(BEFORE, AFTER) == []


@pytest.mark.parametrize(
    ("changed", "lost"),
    [
        ({"IFD0:Make": ["maker"]}, "IFD0:Make"),
        ({"IFD0:Make": []}, "IFD0:Make"),
        (
            {"Photoshop:Photoshop_Unknown_0x0404": ["an other, and ours"]},
            "Photoshop:Photoshop_Unknown_0x0404",
        ),
        ({"XMP-dc:Subject": [["mine", "ours"]]}, "XMP-dc:Subject"),
        ({"Photoshop:IPTCDigest": ["aa"]}, "Photoshop:IPTCDigest"),
        ({"File:CurrentIPTCDigest": ["cc"]}, "Photoshop:IPTCDigest"),
    ],
)
def test_what_is_gone_or_another_is_lost(changed: Fields, lost: str) -> None:
    assert lost_fields(BEFORE, {**AFTER, **changed}) == [lost]


def test_what_exiftool_warns_of_only_now_is_new() -> None:
    assert new_warnings(BEFORE, {**AFTER, "ExifTool:Warning": ["odd", "worse"]}) == ["worse"]
