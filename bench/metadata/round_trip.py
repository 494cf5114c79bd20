"""Writing the metadata of one photo, checking it and undoing it: what `bench.metadata` repeats."""

import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tagger.database.enums import Target
from tagger.errors import PhotoFailed
from tagger.metadata.errors import WriteFailed, WriteRefused
from tagger.metadata.photo_writer import WriteRequest, plan_photo, prepare_photo
from tagger.metadata.restored_files import UndoRecord
from tagger.metadata.tag_fields import NamedLandmark, TagFields, make_tag_fields
from tagger.photos.containers import digest_photo
from tagger.photos.decoding import decode_whole

_PLACE = ("France", "Île-de-France", "Paris")
LANDMARKS = (
    NamedLandmark("eiffel-tower", "Eiffel Tower", *_PLACE, 48.8584, 2.2945, "point", 0.93, "m"),
    NamedLandmark(
        "arc-de-triomphe", "Arc de triomphe de l'Étoile", *_PLACE, 48.8738, 2.2950, "point", 0.61, "m"
    ),
)
ADDITIONS = make_tag_fields(LANDMARKS, gps=True, description=True)
MAX_BYTES = 512 * 2**20
MAX_PIXELS = 100_000_000


@dataclass
class RoundTrip:
    """The result for one file. `problems` must be empty.

    `is_decodable` says that the tagger decodes the file, even a truncated one.
    """

    name: str
    size_bytes: int
    is_jpeg: bool
    is_decodable: bool = False
    outcome: str = ""
    reason: str = ""
    wrote_sidecar: bool = False
    problems: list[str] = field(default_factory=list)
    was_written: bool = False

    @property
    def embedded(self) -> bool:
        return self.outcome == "embedded"


@dataclass(frozen=True)
class Copies:
    """Folders for the file being written and for its versions before and after, under the same name."""

    work: Path
    before: Path
    after: Path

    @classmethod
    def create_in(cls, folder: Path) -> "Copies":
        copies = cls(*(folder / name for name in ("work", "before", "after")))
        for copy in (copies.work, copies.before, copies.after):
            copy.mkdir(parents=True)
        return copies


def run_round_trip(source: Path, name: str, copies: Copies) -> RoundTrip:
    """Write a copy of `source` under `name` and undo it. Embedded photos are copied to `before` and `after`."""
    photo = copies.work / name
    shutil.copyfile(source, photo)
    original = photo.read_bytes()
    result = RoundTrip(source.name, len(original), original.startswith(b"\xff\xd8\xff"))
    pixels = _decode(original)
    result.is_decodable = pixels is not None
    undo_records = _write(photo, original, result)
    new = photo.read_bytes()
    if result.embedded:
        shutil.copyfile(source, copies.before / name)
        shutil.copyfile(photo, copies.after / name)
    elif new != original:
        result.problems.append("changed, though it was not embedded")
    if pixels is not None and pixels != _decode(new):
        result.problems.append("other pixels")
    _undo(photo, original, undo_records, result)
    for leftover in copies.work.iterdir():
        result.problems.append(f"left behind: {leftover.suffix}")
        leftover.unlink()
    return result


def _write(photo: Path, original: bytes, result: RoundTrip) -> Mapping[str, UndoRecord]:
    request = WriteRequest(
        photo, photo.parent, digest_photo(original), ADDITIONS, Target.EMBED, frozenset(), MAX_BYTES
    )
    try:
        ready = prepare_photo(plan_photo(request, lambda _write: None))
        ready.replace_files()
    except (WriteRefused, WriteFailed) as problem:
        outcome = "refused" if isinstance(problem, WriteRefused) else "failed"
        result.outcome, result.reason = f"{outcome}: {problem.kind}", problem.text
        return {}
    except Exception as error:  # noqa: BLE001 - unexpected errors are counted
        result.outcome = "raised"
        result.problems.append(f"raised {error!r}")
        return {}
    refusal = ready.plan.refusal
    result.outcome = f"sidecar: {refusal.kind}" if refusal else "embedded"
    result.reason = re.sub(r"\d+", "N", refusal.text) if refusal else ""
    result.wrote_sidecar = any(file.target is Target.SIDECAR for file, _ in ready.prepared)
    records = [file.undo_record for file, _ in ready.prepared if file.undo_record]
    return {record.written_digest: record for record in records}


def _undo(photo: Path, original: bytes, undo_records: Mapping[str, UndoRecord], result: RoundTrip) -> None:
    request = WriteRequest(photo, photo.parent, None, TagFields(), None, frozenset(Target), MAX_BYTES)
    result.was_written = bool(undo_records)
    if undo_records:
        try:
            prepare_photo(plan_photo(request, undo_records.get)).replace_files()
        except Exception as error:  # noqa: BLE001 - unexpected errors are counted
            result.problems.append(f"not undone: {error!r}")
    if photo.read_bytes() != original:
        result.problems.append("not the same after undo")
    photo.unlink()


def _decode(data: bytes) -> tuple[tuple[int, ...], bytes] | None:
    """Shape and bytes of the image; None if the file cannot be decoded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pixels = decode_whole(data, max_pixels=MAX_PIXELS)
        except PhotoFailed:
            return None
    return pixels.shape, pixels.tobytes()
