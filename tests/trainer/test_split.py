import random
from collections import Counter

from trainer.split import hold_out

LABELS = ["tower"] * 40 + ["bridge"] * 20 + [None] * 10


def test_about_the_fraction_of_each_label_is_held_out() -> None:
    held = _hold_out(LABELS, _far_hashes(70))

    counts = Counter(label for label, out in zip(LABELS, held, strict=True) if out)
    assert counts == {"tower": 8, "bridge": 4, None: 2}


def test_near_duplicates_stay_on_one_side() -> None:
    hashes = _far_hashes(70)
    for position in range(0, 40, 2):
        hashes[position + 1] = hashes[position] ^ 1
    held = _hold_out(LABELS, hashes)

    assert all(held[position] == held[position + 1] for position in range(0, 40, 2))
    assert sum(held[:40]) == 8


def test_the_split_follows_content_and_seed_and_not_the_order() -> None:
    hashes, digests = _far_hashes(70), [f"digest-{position}" for position in range(70)]
    order = list(range(70))
    random.Random(5).shuffle(order)
    held = _hold_out(LABELS, hashes)
    shuffled = hold_out(
        [LABELS[p] for p in order],
        [hashes[p] for p in order],
        [digests[p] for p in order],
        fraction=0.2,
        seed=0,
    )

    assert shuffled == [held[position] for position in order]
    assert _hold_out(LABELS, hashes) == held
    assert _hold_out(LABELS, hashes, seed=1) != held


def test_a_label_that_is_all_one_scene_has_nothing_held_out() -> None:
    assert _hold_out(["tower"] * 5, [7] * 5) == [False] * 5


def test_a_small_label_gives_one_photo_and_keeps_the_rest() -> None:
    assert sum(_hold_out(["tower"] * 3, _far_hashes(3))) == 1
    assert sum(_hold_out(["tower"] * 4, [1, 1, 2**64 - 1, 2**64 - 1])) == 2


def _hold_out(labels: list[str | None] | list[str], hashes: list[int], seed: int = 0) -> list[bool]:
    digests = [f"digest-{position}" for position in range(len(labels))]
    return hold_out(labels, hashes, digests, fraction=0.2, seed=seed)


def _far_hashes(count: int) -> list[int]:
    chance = random.Random(0)
    return [chance.getrandbits(64) for _ in range(count)]
