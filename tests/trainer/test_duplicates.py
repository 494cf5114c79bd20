from dataclasses import replace

import numpy as np
from PIL import Image
from rig.drawing import draw_photo
from support.scenes import scene

from trainer.data.folders import Sketch, group_near_duplicates, sketch_of


def test_the_same_scene_again_has_a_near_hash_and_another_scene_has_not():
    photo = draw_photo(1, (300, 300))
    brighter = photo.point(lambda value: min(255, value + 12)).resize((256, 256)).resize((300, 300))
    images = (photo, brighter, draw_photo(2, (300, 300)))
    hashes = [sketch_of(np.asarray(image)).difference_hash for image in images]

    assert (hashes[0] ^ hashes[1]).bit_count() <= 6
    assert (hashes[0] ^ hashes[2]).bit_count() > 10


def test_near_hashes_of_pictures_that_look_different_are_no_near_duplicates():
    one, other, again = _sketch(scene(1)), _sketch(scene(2)), _sketch(scene(1, (200, 150)))
    near = replace(other, difference_hash=one.difference_hash ^ 0b1011)

    assert group_near_duplicates([one, near, again]) == [0, 1, 0]
    assert group_near_duplicates([]) == []


def test_blank_images_are_known_and_all_alike():
    black, white = (_sketch(Image.new("RGB", (64, 64), colour)) for colour in ("black", "white"))

    assert black.is_blank
    assert white.is_blank
    assert not _sketch(scene(1)).is_blank
    assert group_near_duplicates([black, white]) == [0, 0]


def test_groups_of_many_photos_are_those_that_comparing_one_by_one_gives():
    generator = np.random.default_rng(0)
    hashes = [int(number) for number in generator.integers(0, 2**63, 5000)]
    for position in range(0, 5000, 7):
        hashes[position] = hashes[(position * 31) % 5000] ^ (1 << position % 64)
    thumbnail = _sketch(scene(1)).thumbnail
    groups = group_near_duplicates([Sketch(number, thumbnail) for number in hashes])

    array = np.array(hashes, dtype=np.uint64)
    for position in range(5000):
        near = np.flatnonzero(np.bitwise_count(array ^ array[position]) <= 10)
        assert {groups[other] for other in near} == {groups[position]}
    assert 3000 < len(set(groups)) < 5000


def _sketch(image: Image.Image) -> Sketch:
    return sketch_of(np.asarray(image.resize((64, 64))))
