"""The program's commands, and what it sets for its process and finds in folders of other programs."""

import json
import os
import pkgutil
import re
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY
from support.command_line import run_program
from support.program_libraries import LIBRARIES
from support.threads import in_threads

import tagger.processes.metrics  # noqa: F401 - registers the metrics
from tagger import processes as process
from tagger.cli import commands as package
from tagger.cli.help import DEFAULT
from tagger.cli.job_text import other_files_lines
from tagger.cli.program import COMMANDS, commands, run
from tagger.jobs.enqueue.schedules import local_zone
from tagger.jobs.processing.executor import SharedExclusiveLock
from tagger.photos.folders import FolderSource, FoundPhoto, PathFilter
from tagger.photos.names import OtherFiles, is_photo_name
from tagger.processes import _run_in_root_folder

PROJECT = Path(__file__).parents[2]
COMPLETION = (
    "import sys\n"
    "sys.argv = [{program!r}]\n"
    "from {program}.cli.main import main\n"
    "try: main()\n"
    "finally: assert {unneeded!r} not in sys.modules"
)


def helps() -> Iterator[str]:
    """The words before --help of all commands and groups."""

    def below(words: str, command: Any) -> Iterator[str]:
        yield words
        for name, inner in getattr(command, "commands", {}).items():
            if name != DEFAULT:
                yield from below(f"{words} {name}", inner)

    for name, command in commands.items():
        yield from below(name, command)


def help_of(words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["tagger", *words.split()])
    with pytest.raises(SystemExit) as end:
        run()
    assert end.value.code == 0
    return capsys.readouterr().out.splitlines()


def test_help_has_groups_and_lines_that_fit_and_help_all_the_rest(capsys, monkeypatch):
    for words in helps():
        lines = help_of(f"{words} --help", capsys, monkeypatch)
        assert 5 < len(lines) <= 60, words
        assert max(map(len, lines)) <= 80, words
        assert not re.search(r"<[a-z]|range|…$|\.\.\.$", "\n".join(lines[1:])), words
    lines = help_of("--help", capsys, monkeypatch)
    assert len(lines) <= 45
    assert [line for line in lines if line.endswith(":")] == [
        "Start:", "Find:", "Correct:", "Operate:", "Options:", "Output:",
    ]  # fmt: skip
    text = " ".join(lines)
    assert all(name in text for name in commands)
    assert "  worker " in "\n".join(help_of("help all", capsys, monkeypatch))
    assert help_of("help tag", capsys, monkeypatch) == help_of("tag --help", capsys, monkeypatch)
    text = "\n".join(help_of("tag --help", capsys, monkeypatch))
    assert "--batch-size" not in text
    assert "--help-all" in text
    assert "--batch-size" in "\n".join(help_of("tag --help-all", capsys, monkeypatch))


@pytest.mark.parametrize("words", ["locate photos", "review --nothing", "teach"])
def test_wrong_usage_names_commands_and_arguments_as_their_help_does(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    command = words.split()[0]
    monkeypatch.setattr(sys, "argv", ["tagger", *words.split()])
    with pytest.raises(SystemExit) as end:
        run()
    assert end.value.code == 2
    wrong = capsys.readouterr().err.splitlines()
    usage = help_of(f"{command} --help", capsys, monkeypatch)[0]
    assert wrong[:2] == [usage, f"Try 'tagger {command} -h' for help."]


def test_every_module_of_commands_is_in_the_table():
    named = {place.partition(":")[0] for listed in COMMANDS.values() for place, _ in listed.values()}
    assert named == {module.name for module in pkgutil.iter_modules(package.__path__)}


@pytest.mark.parametrize(
    ("words", "module", "most"),
    [
        ("query", "query", 75),
        ("--help", None, 15),
        *(
            pytest.param(words, module, 100, marks=pytest.mark.slow)
            for words, module in (
                ("db stats", "database"),
                ("query --help", "query"),
                ("--version", None),
                ("", None),
                ("jobz", None),
            )
        ),
    ],
)
def test_a_quick_command_imports_no_other_and_help_none(words, module, most, tmp_path):
    """Neither imports pixels, models, queues, metadata or the stall watch, nor more modules than it needs."""
    run = "try: tagger.cli.main.main()\nfinally: print(*sys.modules, file=sys.stderr)"
    program = f"import sys, tagger.cli.main\n{run}"
    environment = {**os.environ, "TAGGER_DATA_FOLDER": str(tmp_path)}
    done = run_program(sys.executable, "-c", program, *words.split(), code=None, env=environment)
    prefix = f"{package.__name__}."
    modules = done.stderr.splitlines()[-1].split()
    imported = [name for name in modules if name.startswith(prefix)]
    assert imported == ([prefix + module] if module else []), done.stderr
    assert {"numpy", "PIL", "torch", "celery", "lxml", "tagger.processes.stall"}.isdisjoint(modules)
    assert len([name for name in modules if name.partition(".")[0] == "tagger"]) <= most


def test_commands_that_messages_name_exist():
    sources = "".join(
        file.read_text()
        for folder in ("tagger", "trainer", "worker")
        for file in (PROJECT / folder).rglob("*.py")
    )
    named = set(re.findall(r"(?:`tagger|[Rr]un tagger|\{tagger\}) ([a-z][a-z-]*) ?([a-zA-Z-]*)", sources))
    named = {words for words in named if words[0] not in {"as", "help"}}  # "run tagger as that user"
    assert len(named) > 50
    for name, inner in named:
        assert name in commands, f"tagger {name}"
        nested = getattr(commands[name], "commands", {})
        assert not nested or DEFAULT in nested or not inner or inner in nested, f"tagger {name} {inner}"


@pytest.mark.parametrize(
    ("program", "words", "unneeded", "expected"),
    [
        ("tagger", "tagger query --format ", "torch", "geojson"),
        ("trainer", "trainer train tr", "torch", "transfer"),
        ("tagger", "tagger metad", "tagger.cli.commands", "metadata"),
    ],
)
def test_completion_is_quick_because_it_imports_neither_torch_nor_commands_for_their_names(
    program, words, unneeded, expected
):
    environment = {f"_{program.upper()}_COMPLETE": "complete_bash", "COMP_WORDS": words}
    environment["COMP_CWORD"] = str(words.count(" "))
    script = COMPLETION.format(program=program, unneeded=unneeded)
    done = run_program(sys.executable, "-c", script, env=environment)
    assert (done.stderr, expected in done.stdout.split()) == ("", True)


def create(root: Path, paths: Iterable[str]) -> None:
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"pixels")


def photos(root: Path, other_files: OtherFiles | None = None) -> set[str]:
    found = FolderSource(root).photos(other_files=other_files)
    return {photo.path.relative_to(root).as_posix() for photo in found if isinstance(photo, FoundPhoto)}


@pytest.mark.parametrize("library", LIBRARIES)
def test_originals_of_a_library_are_photos_and_copies_are_not(tmp_path, library):
    paths = LIBRARIES[library]
    create(tmp_path, paths)
    assert photos(tmp_path) == {path for path, is_photo in paths.items() if is_photo}
    path_filter = PathFilter(str(tmp_path), os.path.lexists)
    for path, is_photo in paths.items():
        if is_photo_name(path) and not path.rpartition("/")[2].startswith("."):
            assert (path_filter.closed_folder(path.rpartition("/")[0]) is None) == is_photo, path


def test_a_folder_that_the_user_names_is_searched(tmp_path):
    create(tmp_path, (".nomedia", "a.jpg", "sub/.nomedia", "sub/b.jpg"))
    package = tmp_path / "P.photoslibrary"
    create(package, ("originals/a.jpg", "resources/derivatives/a.jpg"))
    assert photos(tmp_path) == {"a.jpg", "P.photoslibrary/originals/a.jpg"}
    assert photos(package) == {"originals/a.jpg"}
    assert photos(package / "resources") == {"derivatives/a.jpg"}


def test_what_is_left_out_is_named_with_its_reason(tmp_path):
    names = [f"{name}/@eaDir/a.jpg" for name in "abcd"]
    create(tmp_path, (*names, "p/.nomedia", "p/a.jpg", "p/sub/b.jpg", ".hidden/a.jpg"))
    create(tmp_path, ("f.jp2", "g.jxl", "h.mp4", "i.mp4"))
    other_files = OtherFiles()
    assert photos(tmp_path, other_files) == set()
    assert other_files_lines(other_files) == [
        f"left out: 1 folder ({tmp_path}/p) with .nomedia",
        f"left out: 4 folders ({', '.join(f'{tmp_path}/{name}/@eaDir' for name in 'abc')}, 1 more) with thumbnails of Synology",
        "left out by extension: 4 files (2 .mp4, .jp2, .jxl)",
    ]


PROGRAM = """
import os, sys
from {name}.cli.main import main
sys.argv = ["{name}", "--version"]
try:
    main()
except SystemExit:
    pass
before = set(os.listdir("/proc/self/task"))
import numpy
print(len(set(os.listdir("/proc/self/task")) - before), os.environ["OMP_WAIT_POLICY"])
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted in /proc")
@pytest.mark.parametrize("name", ["tagger", "trainer"])
def test_numpy_starts_no_threads_that_spin(name):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OPENBLAS", "OMP"))}
    done = run_program(sys.executable, "-c", PROGRAM.format(name=name), env=environment)
    assert done.stdout.splitlines()[-1] == "0 PASSIVE"


@pytest.mark.slow
def test_imports_do_not_open_files_of_the_working_directory(tmp_path):
    os.mkfifo(tmp_path / "libcuda.so.1")  # opening it would wait for ever
    code = "import os; before = os.getcwd(); import tagger, torch; assert os.getcwd() == before"
    run_program(sys.executable, "-P", "-c", code, cwd=tmp_path, timeout=300)


@pytest.mark.parametrize("can_have_own_folder", [True, False])
def test_the_root_folder_is_left_again(can_have_own_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if not can_have_own_folder:
        monkeypatch.setattr(process, "_has_own_folder", lambda: False)
    folders: list[str] = []
    _run_in_root_folder(lambda: folders.append(os.getcwd()))  # noqa: PTH109 - of this thread
    assert (folders, Path.cwd()) == (["/"], tmp_path)
    with pytest.raises(ZeroDivisionError):
        _run_in_root_folder(lambda: 1 // 0)
    assert Path.cwd() == tmp_path


def test_a_zone_has_a_name_and_a_rule_has_none(monkeypatch):
    zones = {"Europe/Paris": "Europe/Paris", ":Europe/Paris": "Europe/Paris", "CST6CDT": "CST6CDT"}
    for value, name in (zones | {"EST5EDT,M3.2.0,M11.1.0": None, "FOO3:17": None}).items():
        monkeypatch.setenv("TZ", value)
        assert local_zone() == name


FOLDER = PROJECT / "deploy" / "observability"
OF_PROMETHEUS = {"up"}  # What Prometheus itself records of each worker
OF_LINUX = {"process_resident_memory_bytes"}  # What prometheus-client serves where there is /proc


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_alerts_use_metrics_that_exist_and_are_documented_with_a_remedy():
    panels = json.loads((FOLDER / "dashboard.json").read_text())["panels"]
    expressions = [rule["expr"] for rule in alerts()]
    expressions += [target["expr"] for panel in panels for target in panel["targets"]]
    used = {
        name
        for expression in expressions
        for name in re.findall(r"\b(?:(?:tagger|process)_\w+|up)\b(?=[ {\[)]|$)", expression)
    }
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}
    served = {
        family.name + suffix for family in REGISTRY.collect() for suffix in suffixes.get(family.type, [""])
    }
    assert used - OF_PROMETHEUS - OF_LINUX <= served
    assert {f"{name}_total" for name in ("tagger_photos", "tagger_failures")} <= used
    page = (PROJECT / "docs" / "how-to" / "monitor.md").read_text()
    documented = re.findall(r"^\| `(Tagger\w+)`", page, flags=re.MULTILINE)
    assert documented == [rule["alert"] for rule in alerts()]
    assert all({"summary", "description"} <= rule["annotations"].keys() for rule in alerts())


@pytest.mark.slow
def test_prometheus_accepts_its_configuration_and_the_alerts_and_raises_each_when_it_should(tmp_path):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; it is in Debian's package prometheus")
    for arguments in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts-test.yml"]):
        run_program(promtool, *arguments, cwd=FOLDER)
    tested = (FOLDER / "alerts-test.yml").read_text()
    assert all(f"alertname: {rule['alert']}\n        exp_alerts: [{{" in tested for rule in alerts())
    page = (PROJECT / "docs" / "how-to" / "monitor.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    file = tmp_path / "prometheus.yml"
    file.write_text(example)
    run_program(promtool, "check", "config", "--syntax-only", file)


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.fixture
def lock(stop) -> SharedExclusiveLock:
    return SharedExclusiveLock(stop)


@pytest.mark.parametrize(("held", "other"), [(True, True), (True, False), (False, True)])
def test_who_is_blocked_waits_until_a_stop_and_shared_holders_are_not_blocked(lock, stop, held, other):
    with lock.acquire(exclusive=held) as first:
        assert first
        threading.Timer(0.2, stop.set).start()
        with lock.acquire(exclusive=other) as second:
            assert not second
    stop.clear()
    with lock.acquire(exclusive=other) as later:
        assert later
    with lock.acquire(exclusive=False) as one, lock.acquire(exclusive=False) as another:
        assert one
        assert another


def test_exclusive_requests_are_not_starved(lock):
    is_over = threading.Event()
    results = []

    def acquire_shared() -> None:
        while not is_over.is_set():
            with lock.acquire(exclusive=False):
                pass

    def acquire_exclusively() -> None:
        for _ in range(20):
            with lock.acquire(exclusive=True) as acquired:
                results.append(acquired)
        is_over.set()

    in_threads([acquire_shared, acquire_shared, acquire_exclusively])
    assert results == [True] * 20
