import torch
from drawing import draw_photo
from PIL import Image
from torch import Tensor

from trainer.duplicates import difference_hashes, group_near_duplicates


def test_the_same_scene_again_has_a_near_hash_and_another_scene_has_not() -> None:
    photo = draw_photo(1, (300, 300))
    brighter = photo.point(lambda value: min(255, value + 12)).resize((256, 256)).resize((300, 300))
    hashes = difference_hashes(
        torch.stack([_pixels(image) for image in (photo, brighter, draw_photo(2, (300, 300)))])
    )

    assert (hashes[0] ^ hashes[1]).bit_count() <= 6
    assert (hashes[0] ^ hashes[2]).bit_count() > 10


def test_hash_has_a_bit_for_each_step_that_is_brighter_to_the_right() -> None:
    rising = torch.arange(90, dtype=torch.uint8).repeat(3, 80, 1)  # (3, 80, 90)

    assert difference_hashes(torch.stack([rising, rising.flip(2)])) == [2**64 - 1, 0]


def test_chains_of_near_hashes_are_one_group() -> None:
    a, b, c, far = 0b0, 0b111, 0b111111, 2**63 + 2**40 + 2**30 + 2**20 + 2**10

    assert group_near_duplicates([a, far, b, c], near_bits=3) == [0, 1, 0, 0]
    assert group_near_duplicates([a, c], near_bits=3) == [0, 1]
    assert group_near_duplicates([], near_bits=3) == []


def _pixels(image: Image.Image) -> Tensor:
    return (
        torch.tensor(list(image.convert("RGB").tobytes()), dtype=torch.uint8)
        .reshape(300, 300, 3)
        .permute(2, 0, 1)
    )
