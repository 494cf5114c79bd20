"""Cameras: the photos of one camera have a common time line, if their dates come from a running clock.

A photo that names no camera is assigned to the camera of its folder. Only this module makes the columns `key`
and `name` of cameras.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from difflib import get_close_matches
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, literal, select, update

from tagger.database.statements import insert_missing
from tagger.database.tables import cameras, roots
from tagger.errors import CameraNotFound
from tagger.photos import CameraFacts

# Keys of cameras that photos name begin with this.
_NAMED = "camera|"
# Names of cameras that an error suggests.
MOST_NAMES = 10


@dataclass(frozen=True)
class Camera:
    """A camera, by its key. `name` of a folder's camera is the path in its root, `root_id`."""

    key: str
    name: str = field(compare=False)
    root_id: int | None = field(default=None, compare=False)


def camera_of(facts: CameraFacts, root_id: int, path: str) -> Camera:
    """The camera that took a photo, by its file; else that of its folder. `path` is the column of photos.

    A model names a camera, and so does a serial number; a make alone does not.
    """
    if facts.model is None and facts.serial is None:
        folder = path[: path.rfind("/") + 1]
        return Camera(_folder_prefix(root_id) + folder, folder.rstrip("/"), root_id)
    make, model, serial = facts.make or "", facts.model or "", facts.serial or ""
    # Programs that export photos change the case of these texts.
    parts = [part.replace("|", " ").casefold() for part in (make, model, serial)]
    # `Canon EOS 5D (0570004681)`: most makers repeat their name in the model.
    repeats = model.casefold().startswith(make.split(" ", maxsplit=1)[0].casefold())
    name = model if repeats else f"{make} {model}".strip()
    shown = f"{name} ({serial})".strip() if serial else name
    return Camera(f"{_NAMED}{'|'.join(parts)}", shown)


def is_named() -> ColumnElement[bool]:
    """The condition on `cameras` that photos name the camera; otherwise it stands for a folder."""
    return cameras.c.key.startswith(_NAMED, autoescape=True)


def camera_models(connection: Connection) -> dict[str, tuple[int, ...]]:
    """The ids of the cameras that photos name, by make and model: several cameras may be of one model."""
    models: dict[str, list[int]] = {}
    for row in _named_cameras(connection):
        models.setdefault(_model_name(row.key, row.name), []).append(row.id)
    return {name: tuple(ids) for name, ids in sorted(models.items())}


def names_of_camera_models(connection: Connection) -> dict[str, set[str]]:
    """Makes and models of the cameras that photos name, each with all names that people use for it."""
    names: dict[str, set[str]] = {}
    for row in _named_cameras(connection):
        make = row.key.removeprefix(_NAMED).partition("|")[0]
        known = names.setdefault(_model_name(row.key, row.name), set())
        known |= {make, make.partition(" ")[0], *_names(row.key, row.name)}
    return dict(sorted(names.items()))


def camera_model(connection: Connection, name: str) -> str:
    """The make and model that a name stands for; the name itself if it stands for one camera of a model.

    Raises:
        CameraNotFound: no photo names such a camera.
    """
    ids = set(find_cameras(connection, name))
    models = camera_models(connection)
    return next(
        (model for model, of_model in models.items() if set(of_model) == ids), name
    )


def camera_name(connection: Connection, camera_id: int | None) -> str | None:
    """The name of a camera with its serial number; None of one that stands for a folder."""
    return connection.scalar(
        select(cameras.c.name).where(cameras.c.id == camera_id, is_named())
    )


def find_cameras(connection: Connection, name: str) -> tuple[int, ...]:
    """The ids of the cameras with this make and model, and serial number if the name has one, in any case.

    Raises:
        CameraNotFound: no photo names such a camera; the message has similar names.
    """
    normal = " ".join(name.split()).casefold()
    rows = _named_cameras(connection)
    found = tuple(row.id for row in rows if normal in _names(row.key, row.name))
    if not found:
        models = {_model_name(row.key, row.name) for row in rows}
        close = get_close_matches(
            normal, {model.casefold() for model in models}, MOST_NAMES, 0.5
        )
        similar = sorted(
            model for model in models if model.casefold() in close
        ) or sorted(models)
        raise CameraNotFound(name=name, names=", ".join(similar[:MOST_NAMES]) or "none")
    return found


def ensure_cameras(
    connection: Connection, found: Collection[Camera]
) -> dict[Camera, int]:
    """The ids of cameras; missing ones are inserted. Call it in a write transaction."""
    by_key = {camera.key: camera for camera in found}
    ids = _stored_ids(connection, by_key)
    # Sorted, so that workers that meet the same new cameras lock rows in the same order.
    missing = [by_key[key] for key in sorted(by_key.keys() - ids.keys())]
    if missing:
        names = {
            row.id: row.name
            for row in connection.execute(select(roots.c.id, roots.c.name))
        }
        rows = []
        for camera in missing:
            name = camera.name
            if camera.root_id is not None:
                # The root may have become a folder of another one since its photos were read.
                root_name = names.get(camera.root_id, "")
                name = f"{root_name}/{name}".rstrip("/") or "/"
            rows.append({"key": camera.key, "name": name})
        insert_missing(connection, cameras, rows)
        ids |= _stored_ids(connection, [camera.key for camera in missing])
    return {by_key[key]: id_ for key, id_ in ids.items()}


def move_folder_cameras(
    connection: Connection, old: tuple[int, str], new: tuple[int, str], prefix: str
) -> None:
    """Give the cameras of folders new keys and names: the root `old` is now the folder `prefix` of `new`.

    `prefix` ends with a slash.
    """
    old_key, new_key = _folder_prefix(old[0]), _folder_prefix(new[0]) + prefix
    old_name, new_name = old[1], f"{new[1]}/{prefix.rstrip('/')}"
    connection.execute(
        update(cameras)
        .where(cameras.c.key.startswith(old_key, autoescape=True))
        .values(
            key=_with_start(cameras.c.key, old_key, new_key),
            name=_with_start(cameras.c.name, old_name, new_name),
        )
    )


# Earlier dates are no EXIF: clocks begin in 1970 or 1980, and people give them to scans.
_FIRST_YEAR = 1990
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - cameras' local time
# Local times of one moment differ by at most this: zones of up to 14 hours, and of the last
# journey.
LOCAL_TIMES = timedelta(hours=26)


def clock_seconds(taken_at: datetime) -> float:
    """Seconds since 1970 as the camera's clock shows them: in its own time."""
    return (taken_at - _EPOCH).total_seconds()


def clock_time(seconds: float) -> datetime:
    """The time that a clock shows at these seconds, or the first or last time that there is."""
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return datetime.min if seconds < 0 else datetime.max  # noqa: DTZ901 - cameras' local time


def is_clock_time(taken_at: datetime, utc_offset_s: int | None) -> bool:
    """Whether a photo's local time orders it among other photos of its camera.

    Dates that photos of many occasions share do not order them: dates before 1990; midnight to the second,
    which stands for a date without a time; and 1 January without a time zone. Clocks that were never set, or
    lost power, begin on 1 January of some year again and again. Cameras that know their time zone were set.

    A clock that is years ahead runs as any other: a date in the future, even 2099, is a time. So the answer
    does not depend on when it is asked for.
    """
    if taken_at.year < _FIRST_YEAR or taken_at.time() == time():
        return False
    return not may_be_reset(taken_at, utc_offset_s)


def may_be_reset(taken_at: datetime, utc_offset_s: int | None) -> bool:
    """Whether this may be the time of a clock that was never set, or lost power, rather than the photo's."""
    return utc_offset_s is None and (taken_at.month, taken_at.day) == (1, 1)


def _folder_prefix(root_id: int) -> str:
    return f"folder|{root_id}|"


def _model_name(key: str, name: str) -> str:
    # The camera's name without its serial number.
    serial = key.rpartition("|")[2]
    return (name[: -len(serial) - 2].strip() if serial else name) or name


def _names(key: str, name: str) -> set[str]:
    # The names that find a camera: with and without its serial number, make and model, or its model.
    make, _, rest = key.removeprefix(_NAMED).partition("|")
    model = rest.partition("|")[0]
    return {
        name.casefold(),
        _model_name(key, name).casefold(),
        f"{make} {model}".strip(),
        model or make,
    }


def _named_cameras(connection: Connection) -> Sequence[Row[Any]]:
    return connection.execute(
        select(cameras).where(is_named()).order_by(cameras.c.id)
    ).all()


def _stored_ids(connection: Connection, keys: Collection[str]) -> dict[str, int]:
    query = select(cameras.c.key, cameras.c.id).where(cameras.c.key.in_(keys))
    return {row.key: row.id for row in connection.execute(query)}


def _with_start(column: ColumnElement[str], old: str, new: str) -> ColumnElement[str]:
    return literal(new).concat(func.substr(column, len(old) + 1))
