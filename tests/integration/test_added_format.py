"""A format of photos that is declared once is listed, digested, tagged, shown, and its metadata is read."""

import json
import os
import subprocess
import sys
from pathlib import Path


def test_a_declared_format_is_read_like_any_other(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "support.added_format", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
    found = json.loads(output)
    assert found["is same image"]
    assert found["tags"] == {"a.qoi": ["eiffel-tower"]}
    assert found["sizes"] == [[480, 320]]
    assert found["image"] == ["image/x-qoi", True]
    assert found["fields"] == "XMP:xmp:Rating\t5\n"
