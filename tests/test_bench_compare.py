"""The comparison with peers: each program really runs, all do the same work, and all of a program's CPU time counts."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from artifacts import LABELS, tiny_artifact
from commands import draw, draw_many
from drawing import save_photos
from PIL import Image

from bench.comparison.measuring import Task
from bench.comparison.photo_sets import BATCH, MIX_SIZES, _make_mix, own_set, warm_up_photos
from bench.comparison.programs import program
from bench.comparison.stored import BY_PEER, Wanted, first_tags, share_alike
from bench.copies import photos_in
from bench.peers.store import open_store, store
from bench.process_tree import PeakMemory, cpu_seconds
from tagger.photos import digest_photo

REPOSITORY = Path(__file__).parent.parent
TAGS = len(LABELS)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """A batch of pictures that the tiny model tells apart."""
    tiny_artifact(tmp_path / "tiny.pt")
    draw_many(tmp_path / "photos", BATCH)
    wanted = Wanted(photos_in(tmp_path / "photos"), TAGS)
    (tmp_path / "remembered").mkdir()
    return Task(
        tmp_path / "tiny.pt", tmp_path / "remembered", warm_up_photos(tmp_path), tmp_path / "photos", wanted
    )


@pytest.mark.parametrize("name", ["celery", "celery-batches", "workers"])
def test_workers_store_all_photos_and_name_what_is_drawn(task: Task, name: str) -> None:
    measured = program(name).measure(task)
    _assert_named_as_drawn(measured.firsts, task)
    assert measured.sending_cpu_s
    assert measured.peak_mib > 100


def _assert_named_as_drawn(firsts: Mapping[str, str], task: Task) -> None:
    """Every fifth picture shows nothing that the model knows."""
    for number, photo in enumerate(task.wanted.photos):
        if number % (TAGS + 1) < TAGS:
            assert firsts[str(photo)] == LABELS[number % (TAGS + 1)].slug


def test_compare_prints_and_writes_what_programs_cost(task: Task, tmp_path: Path) -> None:
    words = ("--peers", "tag", "--rounds", "1", "--model", task.model, "--cache", tmp_path)
    command = [sys.executable, "-m", "bench.compare", task.photos, *words, "--out", tmp_path / "out"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.endswith("100.0 % |")]
    assert [row[0] for row in rows] == ["| `tagger tag`"]
    assert "### photos: 32 photos" in done.stdout
    assert (tmp_path / "out" / "report.md").read_text() in done.stdout + "\n"
    [figures] = json.loads((tmp_path / "out" / "report.json").read_text())
    assert figures["limit_ms"] > 0
    assert set(figures["programs"]) == {"tag"}
    with Image.open(tmp_path / "out" / "chart.png") as chart:
        assert min(chart.size) > 200


@pytest.mark.parametrize("words", [("plain",), ("loader", "--scaled", "--frozen")])
def test_peers_that_are_commands_store_all_photos_and_name_what_is_drawn(
    task: Task, tmp_path: Path, words: Sequence[str]
) -> None:
    name, *options = words
    command = [f"bench.peers.{name}", task.model, tmp_path / "peer.sqlite", task.photos, *options]
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    _assert_named_as_drawn(first_tags(tmp_path / "peer.sqlite", BY_PEER, task.wanted, name), task)


def test_a_peer_that_stores_fewer_photos_is_not_compared(tmp_path: Path) -> None:
    engine = open_store(tmp_path / "peer.sqlite")
    store(engine, [("/a.jpg", [("hill", 0.9), ("gate", 0.1)]), ("/b.jpg", [("gate", 0.8)])])
    engine.dispose()
    three = Wanted([Path("/a.jpg"), Path("/b.jpg"), Path("/c.jpg")], 2)
    with pytest.raises(SystemExit, match=r"a peer stored 2 of 3 photos, and not /c.jpg: it did less"):
        first_tags(tmp_path / "peer.sqlite", BY_PEER, three, "a peer")
    with pytest.raises(SystemExit, match=r"a peer stored 1 tags of /b.jpg, and all have to store 2"):
        first_tags(tmp_path / "peer.sqlite", BY_PEER, Wanted(three.photos[:2], 2), "a peer")
    firsts = first_tags(tmp_path / "peer.sqlite", BY_PEER, Wanted(three.photos[:1], 2), "a peer")
    assert firsts == {"/a.jpg": "hill"}


def test_share_alike_counts_photos_with_the_references_best_tag() -> None:
    reference = {"/a.jpg": "hill", "/b.jpg": "gate", "/c.jpg": "gate", "/d.jpg": "gate"}
    assert share_alike({**reference, "/b.jpg": "hill"}, reference) == 0.75


def test_cpu_time_of_children_counts_and_of_what_was_detached_does_not() -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass\n"
    script = f"""
import subprocess, sys
burn = {burn!r}
subprocess.run([sys.executable, "-c", burn])
living = subprocess.Popen([sys.executable, "-c", burn + "print(1, flush=True); input()"], stdin=-1, stdout=-1)
detached = subprocess.Popen(
    [sys.executable, "-c", burn + burn.replace("0.3", "1.5") + "print(1, flush=True); input()"],
    stdin=-1, stdout=-1, start_new_session=True,
)
living.stdout.readline(), detached.stdout.readline()
print("burnt", flush=True)
input()
living.communicate(b"\\n"), detached.communicate(b"\\n")
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"burnt\n"
        with PeakMemory(process.pid) as peak:
            assert 0.55 < cpu_seconds(process.pid) < 1.5
        process.communicate(b"\n")
    assert peak.mib > 5
    assert cpu_seconds(process.pid) == 0


def test_mixed_photos_are_of_three_sizes_and_all_different(tmp_path: Path) -> None:
    originals = save_photos(tmp_path / "originals", 1, (800, 700))
    (tmp_path / "mix").mkdir()
    _make_mix(originals, 6, tmp_path / "mix")
    made = sorted((tmp_path / "mix").iterdir())
    assert len({digest_photo(photo.read_bytes()) for photo in made}) == 6
    for photo, size in zip(made, 2 * MIX_SIZES, strict=True):
        with Image.open(photo) as opened:
            assert opened.size == size


def test_a_set_of_ones_own_is_cut_to_whole_batches(tmp_path: Path) -> None:
    for seed in range(2 * BATCH + 3):
        draw(tmp_path / "own" / f"{seed:03}.jpg", seed=seed)
    assert len(own_set(tmp_path / "own", None, tmp_path / "cache").photos) == 2 * BATCH
    assert len(own_set(tmp_path / "own", 20, tmp_path / "cache").photos) == BATCH
