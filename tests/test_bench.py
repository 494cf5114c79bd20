"""The benchmarks run and count right; how fast anything is, no test says."""

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from commands import draw_many
from drawing import save_photos
from PIL import Image

from tagger.photos import digest_photo

REPOSITORY = Path(__file__).parent.parent


def _run(module: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`bench.copies`: the benchmarks are not installed, they run from the repository."""
    monkeypatch.syspath_prepend(REPOSITORY)
    return importlib.import_module("bench.copies")


def test_queries_asks_each_filter_of_photos_that_it_made(tmp_path: Path) -> None:
    for made_now in (True, False):
        done = _run("bench.queries", "--photos", "400", "--rounds", "1", "--keep", tmp_path)
        assert done.returncode == 0, done.stderr
        cells = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| --any-rank")]
        assert [each[4] for each in cells] == ["100"], made_now


def test_outcomes_counts_every_file_once_whatever_it_is(tmp_path: Path) -> None:
    photos = save_photos(tmp_path / "odd", 3, (120, 90))
    (tmp_path / "odd" / "copy of the first.jpg").write_bytes(photos[0].read_bytes())
    (tmp_path / "odd" / "notes.txt").write_text("no photo")
    (tmp_path / "odd" / "empty.jpg").touch()
    done = _run("bench.outcomes", tmp_path / "odd")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "### odd: 6 files" in done.stdout
    assert "| failed: not-an-image | 1 |" in done.stdout
    assert "| failed: empty | 1 |" in done.stdout
    assert "| **together** | 6 |" in done.stdout


def test_outcomes_finds_files_with_no_outcome_or_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(REPOSITORY)
    outcomes = importlib.import_module("bench.outcomes")
    job = {"total": 3, "tagged": 2, "unknown": 0, "failed": 1}
    met = [("/a", "tagged"), ("/b", "tagged"), ("/b", "failed: corrupt")]
    problems = outcomes._problems([Path("/a"), Path("/b"), Path("/c")], met, job)
    assert problems == ["'/c' has no outcome", "'/b' has 2 outcomes"]


def test_copies_are_pictures_of_their_own(copies: ModuleType, tmp_path: Path) -> None:
    save_photos(tmp_path / "few", 2, (320, 240))
    made = copies.photos_in(copies.copies_of(tmp_path / "few", 8, tmp_path / "cache"))
    assert len({digest_photo(copy.read_bytes()) for copy in made}) == len(made) == 16
    with Image.open(made[7]) as most_cropped:
        assert most_cropped.size == (320 - 7 * 8, 240 - 7 * 8)


def test_some_of_a_folder_are_spread_over_it(copies: ModuleType, tmp_path: Path) -> None:
    draw_many(tmp_path / "many", 32)
    some = copies.photos_in(copies.some_of(tmp_path / "many", 16, tmp_path / "cache"))
    assert [photo.stem.partition("-")[2] for photo in some] == [f"{seed:05}" for seed in range(0, 32, 2)]


@pytest.mark.parametrize(
    "module", ["compare", "start", "enqueue", "limits", "runners", "soak", "memory", "overtaking"]
)
def test_help_says_what_it_is_for(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"bench.{module}").main()
    assert ended.value.code == 0
    assert f"python -m bench.{module}" in capsys.readouterr().out
