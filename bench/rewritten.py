"""One photo written, looked at from every side, and taken back: what `bench.metadata` counts."""

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

from tagger.errors import PhotoFailed
from tagger.images import decode_whole
from tagger.metadata.additions import Additions, NamedLandmark, additions_for
from tagger.metadata.planning import Kept
from tagger.metadata.refusals import WriteRefused
from tagger.metadata.replacing import WriteFailed
from tagger.photos import digest_photo
from tagger.tables import Target
from tagger.writing.photo import PhotoToWrite, ReadyPhoto, make_ready, plan_photo

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
ADDITIONS = additions_for(LANDMARKS, gps=True, description=True)
MAX_BYTES = 512 * 2**20
MAX_PIXELS = 100_000_000
PLAN, PREPARE, REPLACE, UNDO = STEPS = ("plan and check", "prepare", "replace", "undo")
_JPEG = b"\xff\xd8\xff"
_ANY_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Spent:
    """Wall and CPU time of one step."""

    wall_s: float
    cpu_s: float


@dataclass
class Tried:
    """What became of one file. `wrong` is what must never be.

    `seen`: the tagger makes pixels of it, be it of the half that is there; `decodes_whole`: Pillow does without complaint.
    """

    name: str
    size_bytes: int
    is_jpeg: bool
    seen: bool = False
    decodes_whole: bool = False
    outcome: str = ""
    reason: str = ""
    notes: tuple[str, ...] = ()
    kept_bytes: int = 0
    wrote_sidecar: bool = False
    wrong: list[str] = field(default_factory=list)
    spent: dict[str, Spent] = field(default_factory=dict)

    @property
    def embedded(self) -> bool:
        return self.outcome == "embedded"


@dataclass(frozen=True)
class Copies:
    """Folders for the file at work, and for what it was and became, under one name."""

    work: Path
    before: Path
    after: Path

    @classmethod
    def below(cls, folder: Path) -> "Copies":
        made = cls(*(folder / name for name in ("work", "before", "after")))
        for each in (made.work, made.before, made.after):
            each.mkdir(parents=True)
        return made


def try_photo(source: Path, name: str, copies: Copies) -> Tried:
    """Write a copy of `source` under `name` and take it back; a photo that was embedded is left in before and after."""
    photo = copies.work / name
    shutil.copyfile(source, photo)
    original = photo.read_bytes()
    tried = Tried(source.name, len(original), original.startswith(_JPEG))
    pixels = _decoded(original)
    tried.seen, tried.decodes_whole = pixels is not None, _decodes_whole(original)
    kept = _written(photo, original, tried)
    new = photo.read_bytes()
    if tried.embedded:
        shutil.copyfile(source, copies.before / name)
        shutil.copyfile(photo, copies.after / name)
    elif new != original:
        tried.wrong.append("changed, though it was not embedded")
    if pixels is not None and pixels != _decoded(new):
        tried.wrong.append("other pixels")
    _taken_back(photo, original, kept, tried)
    for left in copies.work.iterdir():
        tried.wrong.append(f"left behind: {left.suffix}")
        left.unlink()
    return tried


def _written(photo: Path, original: bytes, tried: Tried) -> Mapping[str, Kept]:
    to_write = PhotoToWrite(photo, digest_photo(original), ADDITIONS, Target.EMBED, frozenset(), MAX_BYTES)
    try:
        with _measured(tried, PLAN):
            planned = plan_photo(to_write, lambda _written: None)
        with _measured(tried, PREPARE):
            ready = make_ready(planned)
        with _measured(tried, REPLACE):
            ready.put_in_place()
    except (WriteRefused, WriteFailed) as problem:
        tried.outcome, tried.reason = f"{_kind_of(problem)}: {problem.kind}", problem.text
        return {}
    except Exception as error:  # noqa: BLE001 - it is what is looked for
        tried.outcome = "raised"
        tried.wrong.append(f"raised {error!r}")
        return {}
    _note(ready, tried)
    return {each.plan.kept.written: each.plan.kept for each, _ in ready.prepared if each.plan.kept}


def _note(ready: ReadyPhoto, tried: Tried) -> None:
    refusal = ready.planned.refusal
    tried.outcome = f"sidecar: {refusal.kind}" if refusal else "embedded"
    tried.reason = _ANY_NUMBER.sub("N", refusal.text) if refusal else ""
    for each, _ in ready.prepared:
        tried.notes += each.plan.notes
        if each.target is Target.SIDECAR:
            tried.wrote_sidecar = True
        elif each.plan.kept and each.plan.kept.undo:
            tried.kept_bytes = len(each.plan.kept.undo)


def _taken_back(photo: Path, original: bytes, kept: Mapping[str, Kept], tried: Tried) -> None:
    to_take = PhotoToWrite(photo, None, Additions(), None, frozenset(Target), MAX_BYTES)
    if kept:
        try:
            with _measured(tried, UNDO):
                make_ready(plan_photo(to_take, kept.get)).put_in_place()
        except Exception as error:  # noqa: BLE001 - whatever it is, the photo could not be had back
            tried.wrong.append(f"not taken back: {error!r}")
    if photo.read_bytes() != original:
        tried.wrong.append("not the same after undo")
    photo.unlink()


def _kind_of(problem: Exception) -> str:
    return "refused" if isinstance(problem, WriteRefused) else "failed"


def _decoded(data: bytes) -> tuple[tuple[int, ...], bytes] | None:
    """Shape and bytes of the pixels; None: it cannot be decoded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pixels = decode_whole(data, max_pixels=MAX_PIXELS)
        except PhotoFailed:
            return None
    return pixels.shape, pixels.tobytes()


def _decodes_whole(data: bytes) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data)) as image:
                image.load()
        except Exception:  # noqa: BLE001 - Pillow raises anything
            return False
    return True


@contextmanager
def _measured(tried: Tried, step: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    tried.spent[step] = Spent(time.perf_counter() - wall, time.process_time() - cpu)
