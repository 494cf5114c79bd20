"""A fact of a photo that is declared once is read, merged, stored, shared with RAW files, and shown."""

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
    """What a program that declares a rating has of it, of a photo and of a JPEG with its RAW file."""
    command = [sys.executable, "-m", "support.added_fact", str(tmp_path_factory.mktemp("photos"))]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
    return dict(json.loads(output))


def test_it_comes_from_the_photo_and_else_from_its_sidecar_when_that_changes_too(
    found: dict[str, Any],
) -> None:
    assert found["rows"] == [["a.jpg", 5, "camera"], ["b.CR3", None, "camera"], ["b.jpg", 2, "sidecar"]]
    assert found["changed"] == [["a.jpg", 5, "camera"], ["b.CR3", None, "camera"], ["b.jpg", 1, "sidecar"]]


def test_a_raw_file_keeps_it_when_it_becomes_a_photo_of_its_own(found: dict[str, Any]) -> None:
    assert found["separated"][1] == ["b.CR3", 1, "sidecar"]


def test_results_have_it(found: dict[str, Any]) -> None:
    assert found["json"] == {"a.jpg": 5, "b.jpg": 2}
    assert next(row["rating"] for row in csv.DictReader(found["csv"].splitlines())) == "5"
    assert "<dt>Rating</dt><dd>5</dd>" in found["page"]
    assert re.search("^rating: +5$", found["show"], re.MULTILINE)
