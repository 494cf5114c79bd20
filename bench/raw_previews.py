"""Compares the largest previews that are found in RAW files with those that exiftool finds, by container.

    python -m bench.raw_previews FOLDER

*Same*: byte for byte. *Here only*: exiftool extracts no preview of a BigTIFF or of a file that is cut off. *Photos* are those that
can be shown: by a preview, or developed if the extra `raw` is installed. The exit code is 1 if exiftool finds a preview that is
not found here, in a container whose previews are read.
"""

import argparse
import json
import subprocess
import sys
from base64 import b64decode
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from bench.outcomes import files_in
from bench.report import note, print_heading, print_table
from tagger.errors import PhotoFailed
from tagger.images import Resize
from tagger.photos.files import PhotoBytes
from tagger.photos.raw import is_raw, read_raw
from tagger.pipeline.requests import Limits, open_bytes
from tagger.pipeline.sandbox import Sandbox

LIMITS = Limits(readers=1, max_bytes=512 * 2**20, max_pixels=250_000_000)
RESIZE = Resize(256, 224)
PREVIEWS = ("PreviewImage", "JpgFromRaw", "JpgFromRaw2", "OtherImage", "ThumbnailImage")
UNPARSED = ("CRW", "MRW", "X3F")
"""Containers that are developed only."""
COLUMNS = ("files", "same", "here only", "exiftool only", "different", "no preview", "photos")


_BASE64, _JPEG = "base64:", b"\xff\xd8\xff"


def main() -> None:
    """Compare the largest previews of RAW files with exiftool's."""
    parser = argparse.ArgumentParser(prog="python -m bench.raw_previews", description=main.__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    print_heading("Previews of RAW files")
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    missed = False
    with Sandbox(LIMITS) as sandbox:
        for path in _raw_files(args.folder):
            data = path.read_bytes()
            container, theirs = _largest_of_exiftool(path)
            comparison = _compared(data, theirs)
            counts[container].update(["files", comparison, *(["photos"] if _is_shown(sandbox, data) else [])])
            if comparison in ("exiftool only", "different"):
                note(f"{path}: {comparison}")
                missed = missed or container not in UNPARSED
    rows = [(name, *(counts[name][column] for column in COLUMNS)) for name in sorted(counts)]
    print_table(("container", *COLUMNS), rows)
    sys.exit(1 if missed else 0)


def _raw_files(folder: Path) -> Iterator[Path]:
    return (path for path in files_in(folder) if is_raw(path.read_bytes()))


def _compared(data: bytes, theirs: bytes) -> str:
    ours = next((bytes(preview.data) for preview in read_raw(data).previews), b"")
    if not ours and not theirs:
        return "no preview"
    if ours == theirs:
        return "same"
    return "different" if ours and theirs else "here only" if ours else "exiftool only"


def _largest_of_exiftool(path: Path) -> tuple[str, bytes]:
    """The container, and the largest preview that is whole."""
    options = [f"-{name}" for name in ("FileType", *PREVIEWS)]
    done = subprocess.run(["exiftool", "-j", "-b", *options, path], capture_output=True, check=False)
    (tags,) = json.loads(done.stdout)
    stored = [str(tags.get(name, "")) for name in PREVIEWS]
    images = [b64decode(text.removeprefix(_BASE64)) for text in stored if text.startswith(_BASE64)]
    previews = [image for image in images if image.startswith(_JPEG)]
    return tags.get("FileType", "?"), max(previews, key=len, default=b"")


def _is_shown(sandbox: Sandbox, data: bytes) -> bool:
    try:
        open_bytes(PhotoBytes(data, len(data), 0), RESIZE, LIMITS, sandbox.decode).decode()
    except PhotoFailed:
        return False
    return True


if __name__ == "__main__":
    main()
