"""Writing the metadata of one photo, checking it and undoing it: the step that `bench.metadata` repeats."""

import io
import re
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from tagger.database.enums import Target
from tagger.errors import PhotoFailed
from tagger.images import decode_whole
from tagger.metadata.errors import WriteFailed, WriteRefused
from tagger.metadata.photo_writer import PreparedPhoto, WriteRequest, plan_photo, prepare_photo
from tagger.metadata.plans import UndoRecord
from tagger.metadata.tag_fields import NamedLandmark, TagFields, make_tag_fields
from tagger.photos.digest import digest_photo

LANDMARKS = (
    NamedLandmark(
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
    ),
    NamedLandmark(
        "arc-de-triomphe",
        "Arc de triomphe de l'Étoile",
        "France",
        "Île-de-France",
        "Paris",
        48.8738,
        2.2950,
        "point",
        0.61,
        "m",
    ),
)
ADDITIONS = make_tag_fields(LANDMARKS, gps=True, description=True)
MAX_BYTES = 512 * 2**20
MAX_PIXELS = 100_000_000
PLAN, PREPARE, REPLACE, UNDO = STEPS = ("plan and check", "prepare", "replace", "undo")
_JPEG = b"\xff\xd8\xff"
_ANY_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class StepTime:
    """Wall and CPU time of one step."""

    wall_s: float
    cpu_s: float


@dataclass
class RoundTrip:
    """The result for one file. `problems` must be empty.

    `is_decodable` says that the tagger decodes the file, even a truncated one. `decodes_completely` says that Pillow decodes
    it without an error. `undo_bytes` is the size of the undo record.
    """

    name: str
    size_bytes: int
    is_jpeg: bool
    is_decodable: bool = False
    decodes_completely: bool = False
    outcome: str = ""
    reason: str = ""
    notes: tuple[str, ...] = ()
    undo_bytes: int = 0
    wrote_sidecar: bool = False
    problems: list[str] = field(default_factory=list)
    step_times: dict[str, StepTime] = field(default_factory=dict)

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
    result = RoundTrip(source.name, len(original), original.startswith(_JPEG))
    pixels = _decode(original)
    result.is_decodable, result.decodes_completely = pixels is not None, _decodes_completely(original)
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
        with _measure(result, PLAN):
            plan = plan_photo(request, lambda _write: None)
        with _measure(result, PREPARE):
            ready = prepare_photo(plan)
        with _measure(result, REPLACE):
            ready.replace_files()
    except (WriteRefused, WriteFailed) as problem:
        result.outcome, result.reason = f"{_outcome_of(problem)}: {problem.kind}", problem.text
        return {}
    except Exception as error:  # noqa: BLE001 - unexpected errors are counted
        result.outcome = "raised"
        result.problems.append(f"raised {error!r}")
        return {}
    _record(ready, result)
    records = [file.undo_record for file, _ in ready.prepared if file.undo_record]
    return {record.written_digest: record for record in records}


def _record(ready: PreparedPhoto, result: RoundTrip) -> None:
    refusal = ready.plan.refusal
    result.outcome = f"sidecar: {refusal.kind}" if refusal else "embedded"
    result.reason = _ANY_NUMBER.sub("N", refusal.text) if refusal else ""
    for file, _ in ready.prepared:
        result.notes += file.notes
        if file.target is Target.SIDECAR:
            result.wrote_sidecar = True
        elif file.undo_record and file.undo_record.inverse:
            result.undo_bytes = len(file.undo_record.inverse)


def _undo(photo: Path, original: bytes, undo_records: Mapping[str, UndoRecord], result: RoundTrip) -> None:
    request = WriteRequest(photo, photo.parent, None, TagFields(), None, frozenset(Target), MAX_BYTES)
    if undo_records:
        try:
            with _measure(result, UNDO):
                prepare_photo(plan_photo(request, undo_records.get)).replace_files()
        except Exception as error:  # noqa: BLE001 - unexpected errors are counted
            result.problems.append(f"not undone: {error!r}")
    if photo.read_bytes() != original:
        result.problems.append("not the same after undo")
    photo.unlink()


def _outcome_of(problem: Exception) -> str:
    return "refused" if isinstance(problem, WriteRefused) else "failed"


def _decode(data: bytes) -> tuple[tuple[int, ...], bytes] | None:
    """Shape and bytes of the image; None if the file cannot be decoded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pixels = decode_whole(data, max_pixels=MAX_PIXELS)
        except PhotoFailed:
            return None
    return pixels.shape, pixels.tobytes()


def _decodes_completely(data: bytes) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data)) as image:
                image.load()
        except Exception:  # noqa: BLE001 - Pillow raises anything
            return False
    return True


@contextmanager
def _measure(result: RoundTrip, step: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    result.step_times[step] = StepTime(time.perf_counter() - wall, time.process_time() - cpu)
