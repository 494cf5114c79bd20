"""Photos and tracks with wrong times and positions, through the commands."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image
from support.artifacts import tiny_artifact
from support.camera_photos import draw_shot
from support.command_line import CommandRunner
from support.gpx_files import walk, write_gpx

PARIS, NEAR_PARIS = (48.858, 2.294), (48.948, 2.294)

Located = dict[str, tuple[str, float, float]]
Locate = Callable[..., Located]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "photos"


@pytest.fixture
def locate(tagger: CommandRunner, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Locate:
    """Tag the folder and locate its photos: source, latitude and longitude by name."""
    tiny_artifact(tmp_path / "tiny.pt")
    monkeypatch.setenv("TAGGER_MODEL", str(tmp_path / "tiny.pt"))
    monkeypatch.setenv("TAGGER_DEVICE", "cpu")

    def run(*options: object) -> Located:
        assert tagger("tag", folder).code == 0
        assert tagger("locate", *options).code == 0
        found = tagger("query", "--position", "any", "--json").json
        return {
            Path(photo["path"]).name: (
                photo["position"]["source"],
                round(photo["position"]["latitude"], 3),
                round(photo["position"]["longitude"], 3),
            )
            for photo in found
        }

    return run


def sources(located: Located) -> dict[str, str]:
    return {name: source for name, (source, _, _) in located.items()}


@pytest.mark.parametrize(
    ("noon", "is_located"),
    [("1970-01-01T00:00:05", False), ("2000-01-01T00:00:05", False), ("2099-05-03T12:00:00", True)],
)
def test_a_clock_that_was_never_set_locates_nothing(
    folder: Path, locate: Locate, noon: str, is_located: bool
) -> None:
    """A clock that is wrong by years still runs."""
    start = datetime.fromisoformat(noon)
    draw_shot(folder / "a.jpg", 0, gps=PARIS, noon=start)
    draw_shot(folder / "b.jpg", 5, noon=start)
    expected = {"a.jpg": "camera"} | ({"b.jpg": "neighbour"} if is_located else {})
    assert sources(locate()) == expected


@pytest.mark.parametrize("noon", ["0001-01-01T00:00:05", "9999-12-31T23:59:00"])
def test_the_first_and_the_last_times_that_there_are_stop_nothing(
    tagger: CommandRunner, folder: Path, locate: Locate, noon: str
) -> None:
    start = datetime.fromisoformat(noon)
    draw_shot(folder / "phone.jpg", 0, gps=PARIS, noon=start, model="Pixel", offset="-12:00")
    draw_shot(folder / "other.jpg", 0, gps=PARIS, noon=start, model="Galaxy", offset="+14:00")
    draw_shot(folder / "tower.jpg", 0, label=0, noon=start)
    assert sources(locate()) == {"phone.jpg": "camera", "other.jpg": "camera", "tower.jpg": "landmark"}
    assert tagger("trips", "--json").json == []


def test_zeros_are_no_position(folder: Path, locate: Locate) -> None:
    draw_shot(folder / "zeros.jpg", 0, gps=(0.0, 0.0))
    draw_shot(folder / "near.jpg", 2)
    draw_shot(folder / "paris.jpg", 4, gps=PARIS)
    assert locate() == {
        "zeros.jpg": ("neighbour", 48.858, 2.294),
        "near.jpg": ("neighbour", 48.858, 2.294),
        "paris.jpg": ("camera", 48.858, 2.294),
    }


def test_a_longitude_with_the_wrong_sign_moves_no_other_photo(folder: Path, locate: Locate) -> None:
    """Vienna, mirrored at Greenwich, is in the Atlantic; the photos around contradict it."""
    for name, minutes, longitude in (("a", 0, 16.37), ("wrong", 4, -16.37), ("c", 8, 16.37)):
        draw_shot(folder / f"{name}.jpg", minutes, gps=(48.21, longitude))
    draw_shot(folder / "before.jpg", 3)
    draw_shot(folder / "after.jpg", 5)
    located = locate()
    assert located["before.jpg"] == located["after.jpg"] == ("neighbour", 48.21, 16.37)
    assert located["wrong.jpg"] == ("camera", 48.21, -16.37)


def test_the_position_of_the_desk_is_not_that_of_the_photo(folder: Path, locate: Locate) -> None:
    """An editor wrote the position and date of its own computer into an export."""
    draw_shot(folder / "a.jpg", 0, gps=PARIS)
    path = draw_shot(folder / "edited.jpg", 2, gps=(52.52, 13.40))
    with Image.open(path) as image:
        exif = image.getexif()
        exif.get_ifd(0x8825)[29] = "2024:06:20"
        image.save(path, quality=90, exif=exif)
    draw_shot(folder / "b.jpg", 4, gps=PARIS)
    assert locate()["edited.jpg"] == ("neighbour", 48.858, 2.294)


def test_the_hour_that_summer_time_repeats_is_told_apart(folder: Path, locate: Locate) -> None:
    """On 27 October 2024, 02:30 was twice; the second time was an hour later, in another place."""
    night = datetime(2024, 10, 27, 2, 30)  # noqa: DTZ001 - the camera's local time
    draw_shot(folder / "summer.jpg", 0, gps=PARIS, noon=night, offset="+02:00")
    draw_shot(folder / "first.jpg", 1, noon=night, offset="+02:00")
    draw_shot(folder / "winter.jpg", 0, gps=NEAR_PARIS, noon=night, offset="+01:00")
    draw_shot(folder / "second.jpg", 1, noon=night, offset="+01:00")
    located = locate()
    assert located["first.jpg"][1] == pytest.approx(PARIS[0], abs=0.002)
    assert located["second.jpg"][1] == NEAR_PARIS[0]


def test_a_track_locates_in_utc_whatever_zone_a_photo_states(
    folder: Path, locate: Locate, tmp_path: Path
) -> None:
    """The track crosses midnight in UTC, with a gap of an hour in which nothing is known."""
    before, after = walk(60, start_s=57_000, step_s=10), walk(60, start_s=61_200, step_s=10)
    track = write_gpx(
        tmp_path / "night.gpx", [*before, *after]
    )  # from 23:50 to 00:00, and from 01:00 to 01:10
    midnight = datetime(2019, 5, 4)  # noqa: DTZ001 - the camera's local time
    draw_shot(folder / "utc.jpg", -5, noon=midnight, offset="+00:00")
    draw_shot(folder / "york.jpg", -5 - 240, noon=midnight, offset="-04:00")
    draw_shot(folder / "gap.jpg", 30, noon=midnight, offset="+00:00")
    located = locate("--gpx", track)
    assert sources(located) == {"utc.jpg": "track", "york.jpg": "track"}
    assert located["utc.jpg"] == located["york.jpg"]
