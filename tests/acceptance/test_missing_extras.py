"""What an installation without an extra says, and what a package adds to one."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet
from PIL import Image
from rig.raw_files import bare_dng
from support.bare_environments import BareEnvironment
from support.command_line import run_program
from support.commands import Terminal, draw

import tagger
from tagger.extensions import extensions

BUCKET = "s3://bucket/photos"
COMMANDS = {
    "cloud": [
        f"tagger tag {BUCKET}",
        f"tagger tag {BUCKET} --dry-run",
        f"tagger enqueue {BUCKET}",
        f"tagger watch {BUCKET}",
        f"tagger up --once {BUCKET}",
        f"tagger backfill all --scan {BUCKET}",
        f"tagger predict {BUCKET}/a.jpg",
        f"tagger similar {BUCKET}/a.jpg",
        f"tagger teach Barn {BUCKET}/a.jpg",
        f"tagger metadata show {BUCKET}/a.jpg",
    ],
    "embedded": ["tagger worker", "tagger enqueue photos --wait"],
    "postgres": [
        "tagger query", "tagger tag photos", "tagger status", "tagger worker",
        "tagger db upgrade",
    ],
    "torch": ["tagger tag photos", "tagger predict photos/a.jpg"],
    "train": [
        "trainer train scratch --data data --out run",
        "trainer train transfer --data data --out run",
        "trainer data inspect data",
        "trainer compare --data data --backbones resnet18 --out runs",
        "trainer evaluate tiny.pt --data data --out report",
        "trainer export run --out model.pt",
    ],
    "web": ["tagger serve"],
}  # fmt: skip
SETTINGS = {
    "cloud": {"TAGGER_MODEL": "none"},  # the tiny one gives no embeddings
    "postgres": {"TAGGER_DATABASE_URL": "postgresql://localhost/tagger"},
}


def cases() -> list[ParameterSet]:
    """The first command of each extra in the daily run, the others in the long one."""
    return [
        pytest.param(extra, command, marks=[pytest.mark.slow] if number else [])
        for extra, commands in COMMANDS.items()
        for number, command in enumerate(commands)
    ]


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> BareEnvironment:
    return BareEnvironment(tmp_path_factory.mktemp("bare"))


def run_in(
    environment: BareEnvironment, terminal: Terminal, command: str, settings: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    program, *arguments = command.split()
    return environment.run(
        program, *arguments, environment=terminal.environment | (settings or {}), cwd=terminal.folder
    )


@pytest.mark.parametrize(("extra", "command"), cases())
def test_a_command_without_its_extra_ends_with_one_sentence(bare, terminal, extra, command):
    draw(terminal.folder / "photos" / "a.jpg", 0)
    draw(terminal.folder / "data" / "train" / "barn" / "a.jpg", 0)
    done = run_in(bare, terminal, command, SETTINGS.get(extra))
    *others, last = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert last.startswith("error: ")
    assert re.search(rf"the extra {extra}\b.* not installed\. Run: pip install .*\[{extra}\]", last)
    assert len(set(others)) <= 1, done.stderr  # threads may choose a backend at the same time


@pytest.mark.slow
def test_photos_that_need_an_extra_fail_one_by_one(bare, terminal):
    """The model was converted to OpenVINO before, and needs no torch."""
    draw(terminal.folder / "one.jpg", 0)
    draw(terminal.folder / "photos" / "two.jpg", 1)
    terminal.environment["TAGGER_BACKEND"] = "openvino"
    terminal.run("tag", "one.jpg")
    (terminal.folder / "photos" / "b.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0heic" + bytes(100))
    (terminal.folder / "photos" / "a.dng").write_bytes(bare_dng(Image.new("RGB", (64, 48), "orange")))
    terminal.environment["TAGGER_BACKEND"] = "auto"
    done = run_in(bare, terminal, "tagger tag photos/two.jpg photos/b.heic photos/a.dng")
    assert done.returncode == 3, done.stderr
    lines = {Path(line.partition(": ")[0]).name: line for line in done.stdout.splitlines()}
    assert "two.jpg: Brandenburg Gate" in lines["two.jpg"]
    assert "needs the extra heic" in lines["b.heic"]
    assert "install the extra raw" in lines["a.dng"]


DATA_FRAME = """
import tagger
with tagger.open("a.sqlite", create=True) as library:
    try:
        library.photos().to_dataframe()
    except tagger.errors.TaggerError as error:
        assert isinstance(error, ModuleNotFoundError)
        print(error)
"""


@pytest.mark.slow
def test_data_frames_without_pandas_are_an_error_of_this_program(bare, terminal):
    options = {"env": terminal.environment, "cwd": terminal.folder}
    done = run_program(bare.python, "-c", DATA_FRAME, **options)
    assert done.stdout.endswith("Run: pip install pandas\n"), done.stderr


@pytest.mark.slow
def test_a_network_of_timm_without_timm_names_the_extra(tmp_path_factory, terminal):
    for label in ("barn", "tower"):
        draw(terminal.folder / "data" / "train" / label / "a.jpg", 0)
    trains = BareEnvironment(tmp_path_factory.mktemp("trains"), extras=["train"])
    done = run_in(trains, terminal, "trainer compare --data data --backbones timm/resnet18 --out runs")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("[timm]'")
    assert "Traceback" not in done.stderr


GUIDE = Path(tagger.__file__).parents[1] / "docs" / "how-to" / "extend.md"


def install_example(site: Path) -> None:
    """Install the package that the guide shows, as an installer would: a module with its entry points."""
    text = GUIDE.read_text()
    blocks = dict(re.findall(r"```(toml|python)\n(.*?)```", text, re.DOTALL))
    project = tomllib.loads(blocks["toml"])["project"]
    site.mkdir()
    (site / "tagger_diary.py").write_text(blocks["python"])
    info = site / f"tagger_diary-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    lines = [
        line
        for group, entries in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {place}" for name, place in entries.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture
def extended(tmp_path, monkeypatch) -> Iterator[Terminal]:
    """A terminal whose Python, this one, has the package of the guide."""
    install_example(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    terminal = Terminal(tmp_path / "terminal")
    draw(terminal.folder / "photos" / "tower.jpg", 0)
    extensions.cache_clear()
    yield terminal
    extensions.cache_clear()
    sys.modules.pop("tagger_diary", None)


def test_the_package_of_the_guide_adds_a_command_and_receives_events(extended):
    extended.run("tag", "photos")
    assert extended.run("diary").stdout == "Eiffel Tower, in job 1\n"


def test_an_extension_that_does_not_load_is_a_warning(extended, tmp_path):
    (tmp_path / "site" / "tagger_diary.py").write_text("import nothing_like_it")
    done = extended.run("tag", "photos")
    assert "tower.jpg: Eiffel Tower" in done.stdout
    (warning,) = [line for line in done.stderr.splitlines() if "diary" in line]
    assert "tagger.event_receivers:diary of tagger-diary does not load" in warning
    assert "No module named 'nothing_like_it'" in warning
    assert "No such command 'diary'" in extended.run("diary", code=2).stderr
