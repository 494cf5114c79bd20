"""Tags in libraries of photos that a last layer has not learnt."""

import colorsys
from pathlib import Path

from support.training_photos import GREY, draw_tinted

from bench.library import Photos, measure_split
from trainer.evaluation.mixture import FAMILY


def test_a_last_layer_is_measured_in_libraries_of_landmarks_that_it_has_not_learnt(tmp_path: Path) -> None:
    photos = Photos.read(draw_build(tmp_path))
    for _, precision, tagged, named, other, ordinary in (measure_split(photos, FAMILY, n) for n in (0, 1)):
        assert precision > 0.9
        assert 0.5 < tagged <= named
        assert other == ordinary == 0


def draw_build(folder: Path) -> Path:
    """Draw what `make model` collects: photos of three landmarks, of twelve others, and ordinary ones."""
    for number in range(15):
        red, green, blue = colorsys.hsv_to_rgb(number / 15, 0.9, 0.8)
        tint, seed = (int(255 * red), int(255 * green), int(255 * blue)), 100 * number
        if number % 5:
            draw_tinted(folder / "photos/others" / f"place-{number}", range(seed, seed + 2), tint)
            continue
        draw_tinted(folder / "photos/train" / f"label-{number}", range(seed, seed + 8), tint)
        draw_tinted(folder / "photos/test" / f"label-{number}", range(seed + 50, seed + 54), tint)
    draw_tinted(folder / "ordinary/train/things", range(9000, 9008), GREY)
    draw_tinted(folder / "ordinary/test/things", range(9100, 9104), GREY)
    return folder
