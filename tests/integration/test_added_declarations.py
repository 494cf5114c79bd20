"""A fact and a format of photos that are declared once are read, stored and shown like any others."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a program that declares a rating and QOI has of a photo, a JPEG with its RAW file, and a QOI file."""
    command = [sys.executable, "-m", "support.added_declarations", str(tmp_path_factory.mktemp("photos"))]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
    return dict(json.loads(output))


def test_a_fact_comes_from_the_photo_and_else_from_its_sidecar_when_that_changes_too(
    found: dict[str, Any],
) -> None:
    others = [["a.jpg", 5, "camera"], ["b.CR3", None, "camera"]]
    assert found["rows"] == [*others, ["b.jpg", 2, "sidecar"], ["c.qoi", 5, "camera"]]
    assert found["changed"] == [*others, ["b.jpg", 1, "sidecar"], ["c.qoi", 5, "camera"]]


def test_a_raw_file_keeps_a_fact_when_it_becomes_a_photo_of_its_own(found: dict[str, Any]) -> None:
    assert found["separated"][1] == ["b.CR3", 1, "sidecar"]


def test_results_have_the_fact(found: dict[str, Any]) -> None:
    assert found["json"] == {"a.jpg": 5, "b.jpg": 2, "c.qoi": 5}
    assert next(row["rating"] for row in csv.DictReader(found["csv"].splitlines())) == "5"
    assert "<dt>Rating</dt><dd>5</dd>" in found["page"]
    assert re.search("^rating: +5$", found["show"], re.MULTILINE)


def test_a_photo_of_the_format_is_digested_tagged_and_shown(found: dict[str, Any]) -> None:
    assert found["is same image"]
    assert found["tags"]["c.qoi"] == ["eiffel-tower"]
    assert found["size"] == [480, 320]
    assert found["image"] == ["image/x-qoi", True]
    assert found["fields"] == "XMP:xmp:Rating\t5\n"
