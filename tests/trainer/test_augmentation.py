"""Augmented views have the right shape for any photo and size, and are reproducible from their seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples
from support.pixel_squares import noise_squares

from tagger.photos.decoding import Pixels
from trainer.learning.batches import Augmentation, augment

PHOTO = noise_squares(1, 64).image(0)
NOTHING = Augmentation(
    least_area=1.0,
    distortion=1.0,
    light=0.0,
    tint=0.0,
    coarse_share=0.0,
    jpeg_share=0.0,
    grey_share=0.0,
    framed_share=0.0,
)
SHARES = st.sampled_from([0.0, 0.5, 1.0])


@examples(15)
@given(
    side=st.sampled_from([32, 33, 96]),
    size=st.sampled_from([32, 64]),
    options=st.builds(
        Augmentation,
        least_area=st.floats(0.01, 1.0),
        distortion=st.floats(1.0, 4.0),
        light=st.floats(0.0, 1.0),
        coarse_share=SHARES,
        jpeg_share=SHARES,
        grey_share=SHARES,
        tint=st.floats(0.0, 1.0),
        framed_share=SHARES,
        turned_share=SHARES,
        tilted_share=SHARES,
    ),
    seed=st.integers(0, 2**63 - 1),
)
def test_view_has_its_shape_and_comes_again_from_the_same_chance(
    side: int, size: int, options: Augmentation, seed: int
) -> None:
    photo = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    before = photo.copy()
    view = augment(photo, size, options, np.random.default_rng(seed))

    assert view.shape == (size, size, 3)
    assert view.dtype == np.uint8
    assert np.array_equal(view, augment(photo, size, options, np.random.default_rng(seed)))
    assert np.array_equal(photo, before)


def test_without_alterations_there_is_the_photo_and_its_mirror_image() -> None:
    views = {view(NOTHING, seed).tobytes() for seed in range(12)}

    assert views == {PHOTO.tobytes(), PHOTO[:, ::-1].tobytes()}


@pytest.mark.parametrize(
    "share",
    [
        *("tint", "coarse_share", "jpeg_share", "grey_share"),
        *("framed_share", "turned_share", "tilted_share"),
    ],
)
def test_each_alteration_shows(share: str) -> None:
    options = Augmentation(**{**vars(NOTHING), share: 1.0})
    plain = (PHOTO, PHOTO[:, ::-1])

    for seed in range(5):
        changed = view(options, seed)
        assert not any(np.array_equal(changed, one) for one in plain)
    if share == "grey_share":
        assert np.ptp(changed.astype(int), axis=2).max() <= 1


def test_turned_views_are_turned_by_a_quarter_to_either_side() -> None:
    options = Augmentation(**{**vars(NOTHING), "turned_share": 1.0})
    views = {view(options, seed).tobytes() for seed in range(24)}

    assert views == {
        np.ascontiguousarray(turned).tobytes()
        for quarter in (np.rot90(PHOTO), np.rot90(PHOTO, -1))
        for turned in (quarter, quarter[:, ::-1])
    }


def test_frames_cover_two_opposite_sides_or_all_with_one_shade() -> None:
    options = Augmentation(**{**vars(NOTHING), "framed_share": 1.0})
    edges = set()
    for seed in range(20):
        framed = view(options, seed)
        sides = (framed[0], framed[-1], framed[:, 0], framed[:, -1])
        edges.add(tuple(bool(np.ptp(side) == 0) for side in sides))

    assert edges == {(True, True, False, False), (False, False, True, True), (True, True, True, True)}


def view(options: Augmentation, seed: int) -> Pixels:
    return augment(PHOTO, 64, options, np.random.default_rng(seed))
