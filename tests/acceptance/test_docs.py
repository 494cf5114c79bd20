"""The sessions, commands, links and recipes of the docs go as they are shown."""

import os
import re
import shlex
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from rig.servers import free_port
from support.camera_photos import copy_samples
from support.command_line import run_command, run_program
from support.commands import BIN, SERVICES, Terminal, draw
from support.local_servers import Quiet, running
from support.scenes import zip_of
from support.training_photos import draw_world, save_random_weights
from torchvision.models import resnet18

from tagger.cli import main as tagger_cli
from trainer.cli import main as trainer_cli

PROJECT = Path(__file__).parents[2]
DOCS = sorted([PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *(PROJECT / "docs").rglob("*.md")])
COURSE = "course.md"
DAILY = {"README.md"}  # The commands of other pages are in tests of their own too
SESSIONS = [
    pytest.param(page, id=page.name, marks=[] if page.name in DAILY else pytest.mark.slow)
    for page in DOCS
    if "```console" in page.read_text() and page.name != COURSE
]
PROMPT = "$ "
MAINS = {"tagger": tagger_cli.main, "trainer": trainer_cli.main}
NUMBER = re.compile(r"\d[\d.,]*(?:e[+-]\d+)?")


@pytest.fixture
def home(tmp_path, test_data) -> Iterator[Terminal]:
    """A person's home with eight photos in ~/Pictures, and the model that ships."""
    terminal = Terminal(tmp_path / "home")
    del terminal.environment["TAGGER_MODEL"]
    terminal.environment |= {"HOME": str(terminal.folder), "PATH": f"{BIN}:{os.environ['PATH']}"}
    # Finding the fastest batch size of the model takes longer than a page's commands.
    terminal.environment["TAGGER_BATCH_SIZE"] = "4"
    # Photos are shown in the order of the folder only if no reader overtakes another.
    terminal.environment["TAGGER_THREADS"] = "1"
    copy_samples(test_data, terminal.folder / "Pictures")
    yield terminal
    terminal.end_embedded_redis()


@pytest.mark.parametrize("page", SESSIONS)
def test_sessions_go_as_they_are_shown(page, home):
    port = free_port()
    with ExitStack() as services:
        for command, expected in _session(page.read_text().replace(":8080", f":{port}")):
            if command.endswith(" &"):
                shown = services.enter_context(_in_background(f"{command[:-2]} --port {port}", home))
            else:
                shown = _done(command, home, in_shell=command.startswith("tagger predict"))
            pattern = _pattern(expected.replace("/home/you", str(home.folder)))
            assert re.fullmatch(pattern, shown), (
                f"{command}\nprinted:\n{shown}\nbut {page.name} shows:\n{expected}"
            )
    for statement in _blocks(page.read_text(), "sql"):
        rows = sqlite3.connect(home.data / "tagger.sqlite").execute(statement).fetchall()
        assert rows[0] == ("Alai Minar", 2)


@pytest.mark.slow
def test_the_course_goes_as_it_is_shown_at_a_tiny_size(terminal, tmp_path):
    (page,) = (page for page in DOCS if page.name == COURSE)
    terminal.environment |= {"HOME": str(terminal.folder), "PATH": f"{BIN}:{os.environ['PATH']}"}
    del terminal.environment["TAGGER_MODEL"]
    world = draw_world(tmp_path / "drawn")
    for folder in ("ordinary", "ordinary-test"):
        shutil.copytree(world / "unknown", terminal.folder / folder)
    shutil.copytree(world / "landmarks" / "test" / "Green Tower", terminal.folder / "Pictures")
    shutil.copy(next((terminal.folder / "Pictures").iterdir()), terminal.folder / "holiday.jpg")
    weights = save_random_weights(tmp_path / "mobilenet_v2.safetensors")
    torch.save(resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    (tmp_path / "course.zip").write_bytes(_archive(world / "landmarks"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietFiles, directory=tmp_path))
    with running(server), ExitStack() as services:
        sizes = {  # more options make each command small
            "trainer data download": f"--url http://127.0.0.1:{server.server_port}/course.zip",
            "trainer train scratch": "--size 32 --epochs 1",
            "trainer compare": (
                f"--size 64 --weights mobilenet_v2={weights} --weights resnet18={tmp_path}/resnet18.pth"
            ),
            "trainer train transfer": f"--size 64 --epochs 1 --weights {weights} --others {world}/others",
        }
        for command, expected in _session(page.read_text()):
            if command.endswith(" &"):
                services.enter_context(_in_background(f"{command[:-2]} --port {free_port()}", terminal))
                continue
            added = "".join(f" {size}" for start, size in sizes.items() if command.startswith(start))
            shown = _done(command + added, terminal, in_shell=False)
            pattern = _pattern(NUMBER.sub("№", expected)).replace("№", r"[\d.,e+-]+")
            assert re.fullmatch(pattern, shown), f"{command}\nprinted:\n{shown}\nbut it shows:\n{expected}"


class _QuietFiles(Quiet, SimpleHTTPRequestHandler):
    """Answers requests for files."""


def _archive(landmarks: Path) -> bytes:
    photos = [path for split in ("train", "test") for path in (landmarks / split).rglob("*.jpg")]
    return zip_of({f"landmark_images/{path.relative_to(landmarks)}": path.read_bytes() for path in photos})


@pytest.mark.slow
def test_the_line_for_cron_writes_only_what_a_person_must_see(terminal):
    (line,) = _blocks((PROJECT / "docs" / "how-to" / "every-night.md").read_text(), "text")
    variables = {"HOME": str(terminal.folder), "PATH": f"{BIN}:{os.environ['PATH']}"}

    def run_line() -> tuple[int, str]:
        command, environment = line.removeprefix("0 3 * * * "), terminal.environment | variables
        done = run_program("/bin/sh", "-c", command, code=None, env=environment)
        return done.returncode, done.stdout + done.stderr

    draw(terminal.folder / "Pictures" / "a.jpg")
    assert run_line() == (0, "")
    (terminal.folder / "Pictures" / "b.jpg").write_bytes(b"no photo")
    code, output = run_line()
    assert code == 3
    assert output.startswith(f"{terminal.folder}/Pictures/b.jpg: failed (not-an-image)")
    assert "1 failed" in output
    (terminal.folder / "Pictures").rename(terminal.folder / "elsewhere")
    code, output = run_line()
    assert (code, output.startswith("error: There is no file or folder at")) == (1, True)


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_commands_and_options_that_are_shown_exist_and_links_lead_somewhere(page):
    for block in [*_blocks(page.read_text(), "sh"), *_blocks(page.read_text(), "console")]:
        for command in re.findall(r"(?:^|^\$ |xargs -0 )((?:tagger|trainer) [^|\n]*)", block, re.MULTILINE):
            _check_options(command.split())
        for target in re.findall(r"^make (\w+)", block, re.MULTILINE):
            assert re.search(rf"^{target}:", (PROJECT / "Makefile").read_text(), re.MULTILINE), target
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target
    for target, heading in re.findall(r"\]\((?!https?://)([^)#]*\.md|)#([^)]+)\)", page.read_text()):
        assert heading in _headings(page.parent / target if target else page), f"{target}#{heading}"


@cache
def _headings(page: Path) -> set[str]:
    """The addresses of the headings of a page, as GitHub and Sphinx make them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    names = (
        re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", name) for name in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    )
    return {re.sub(r"[^\w\- ]", "", name.lower()).replace(" ", "-") for name in names}


def _done(command: str, home: Terminal, *, in_shell: bool) -> str:
    """The output of a command that must succeed.

    `tagger` and `trainer` run in this process where a shell has nothing to do but, without `in_shell`, to
    expand ~. One command of a person is enough for a shell: each imports torch.
    """
    words = shlex.split(command.replace("~/", f"{home.folder}/"))
    needs_shell = set(command) & set("|><;&$*`#" + "~" * in_shell)
    if words[0] not in MAINS or words[1] in SERVICES or needs_shell:
        done = run_program("bash", "-c", command, cwd=home.folder, env=home.environment)
        return done.stdout + done.stderr
    options = {"environment": home.environment, "folder": home.folder, "code": 0}
    output = run_command(MAINS[words[0]], *words[1:], **options)
    # The trainer's results come last.
    return output.err + output.text if words[0] == "trainer" else output.text + output.err


@contextmanager
def _in_background(command: str, home: Terminal) -> Iterator[str]:
    """Its first line; it goes on meanwhile."""
    with subprocess.Popen(
        command.split(),
        cwd=home.folder,
        env=home.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        try:
            yield process.stderr.readline()
        finally:
            process.terminate()
            process.communicate(timeout=60)


def _session(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a page's sessions, in order, each with the output shown."""
    for block in _blocks(text, "console"):
        for part in block.split("\n" + PROMPT):
            command, _, expected = part.removeprefix(PROMPT).partition("\n")
            yield command, expected


def _blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)\n```", text, re.MULTILINE | re.DOTALL)


def _pattern(expected: str) -> str:
    """A line that is only … stands for any lines, … in a line for anything in it."""
    lines = [
        r"(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + r"\s*\n"
        for line in expected.splitlines()
    ]
    return "".join(lines) + r"\s*"


def _check_options(words: list[str]) -> None:
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    names = [word for word in words[1:] if re.fullmatch(r"[a-z][a-z0-9-]*", word)]
    # `trainer train transfer`, `tagger model add`, `tagger tag`
    helped = next(filter(None, (_help_of(words[0], *names[:depth]) for depth in (3, 2, 1, 0))))
    shown = set(re.findall(r"--[a-z0-9-]+", helped))
    assert options <= shown, f"{' '.join(words)}: {options - shown} is not in its --help"


@cache
def _help_of(program: str, *names: str) -> str | None:
    """What --help-all prints; None where there is no such command."""
    environment = os.environ | {"COLUMNS": "200", "TERM": "dumb"}
    output = run_command(MAINS[program], *names, "--help-all", environment=environment)
    return output.text if output.code == 0 else None


@pytest.mark.slow
def test_the_site_is_built_without_warnings_and_loads_nothing_from_elsewhere():
    subprocess.run(["make", "docs"], cwd=PROJECT, check=True)
    site = PROJECT / "build" / "site"
    loads = re.compile(
        r"<(?:script|img|iframe|source)[^>]* src=\"https?:|"
        r"<link[^>]* href=\"https?:|url\([\"']?https?:|@import"
    )
    for page in (page for page in site.rglob("*") if page.suffix in {".html", ".css"}):
        assert not loads.search(page.read_text()), page
    assert "backfill" in (site / "searchindex.js").read_text()


def test_make_alone_lists_what_there_is_to_do():
    shown = run_program("make", cwd=PROJECT).stdout
    for target in ("setup", "demo", "test", "lock"):
        assert f"make {target}" in shown


@pytest.mark.parametrize("folder", ["pr$ce", "$(shell touch ran)", "-h", 'it\'s "mine" #1', "$$HOME"])
@pytest.mark.parametrize("is_argument", [True, False])
def test_make_demo_takes_every_name_of_a_folder_as_it_is(tmp_path, folder, is_argument):
    program = tmp_path / "tagger"
    program.write_text("#!/bin/sh\nprintf '%s|' \"$@\"; echo\n")
    program.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    words = ["make", "--silent", "--old-file=.venv/app", "demo", f"BIN={tmp_path}"]
    if is_argument:
        words.append(f"PHOTOS={folder}")
    else:
        environment["PHOTOS"] = folder
    shown = run_program(*words, cwd=PROJECT, env=environment).stdout.splitlines()
    assert f"up|--once|--|{folder}|" in shown
    assert shown[-2] == "before these commands, run: . .venv/bin/activate"
    assert not (PROJECT / "ran").exists()
