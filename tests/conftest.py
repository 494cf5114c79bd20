"""Fixtures of all packages: real photos, databases, a Redis server; how tests are distributed.

A test with the fixture `database` runs on SQLite and on PostgreSQL: in the daily run on PostgreSQL only with
the mark `postgresql`.
"""

import gc
import hashlib
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rig.postgres_databases import PostgresDatabases
from rig.servers import RedisServer, postgres_server
from support.databases import (
    create_sqlite_database,
    leave_commits_unflushed,
    share_compiled_statements,
)
from support.disks import Disk
from support.examples import register_profiles
from support.injection import injecting_environment, injecting_path
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from tagger.database.connection import Database, open_database
from tagger.model.artifact import BackgroundStatistics
from tagger.model.backends import selection
from tagger.pipeline.sandbox import minimal_environment
from tagger.processes import quiet_threads
from tagger.teaching.classifiers import EmbeddingSpace

if TYPE_CHECKING:
    from support.buckets import Bucket, BucketServer

# Shells start background jobs with SIGINT or SIGHUP ignored: children that a test ends with one would run on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

register_profiles()

# Photos that a test draws are complete: they need not be waited for.
os.environ["TAGGER_SETTLE_S"] = "0"

# Each new database would compare OpenVINO with TorchScript, which takes long. Tests of that set "auto".
os.environ["TAGGER_BACKEND"] = "torchscript"

# Each command that a test runs is one process, on machines with many cores too. Tests of several set more.
os.environ["TAGGER_PROCESSES"] = "1"

# Test processes share the cores: torch must not spin while it waits.
quiet_threads()

leave_commits_unflushed()
share_compiled_statements()

# Each model that is loaded is tried with these images: drawing them takes longer than that.
selection.generated_images = cache(selection.generated_images)

# Imports and collected tests stay: searching them for garbage takes a fifth of the time of collecting.
gc.disable()

# The fixtures with a value for each kind of database.
DATABASES = ("database_url", "empty_database_url", "shared_database")
# In the order of their tests' duration, the longest first: all processes end at about the same time.
FOLDERS = ("faults", "acceptance", "web", "trainer", "integration", "unit")
WAITING = ("faults", "acceptance")  # Folders whose tests have real processes and often wait
# Folders whose tests run once more if they fail; the summary lists them as RERUN.
#
# Their servers, browsers and workers run beside other tests on the same cores, and some are paused and killed
# at moments that no test controls fully. A test that is listed often has a defect, or shows one.
REPEATED = (*WAITING, "web")
# Folders with long tests: each test goes to the next free process. Elsewhere, a module goes to one.
SINGLE = ("tests/faults/", "tests/acceptance/")
# Modules there whose fixtures take longer than most of their tests.
GROUPED = frozenset(
    f"tests/acceptance/{name}.py"
    for name in ("test_hardened_servers", "test_teach_commands", "test_worker_monitoring")
)
# Modules with one of these fixtures go to one process: a browser or a bucket takes seconds to start.
SHARED = ("browser", "bucket")
# So many modules are listed with the seconds of their tests, if more than these were run.
SLOWEST = 10


class ModuleScheduling(LoadScopeScheduling):
    """`--dist loadscope` by module, where a module's tests are short."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        if module.startswith(SINGLE):
            return module if module in GROUPED else nodeid
        return _shared(self.config.rootpath / module) or module


@cache
def _shared(module: Path) -> str | None:
    signatures = re.findall(r"^def \w+\((.*?)\)", module.read_text(), re.DOTALL | re.MULTILINE)
    fixtures = {name.strip() for signature in signatures for name in signature.split(",")}
    return next((name for name in SHARED if name in fixtures), None)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return ModuleScheduling(config, log)


def share_embedding_spaces() -> None:
    """Let equal statistics of models have one space: inverting a covariance takes longer than most updates."""
    compute = EmbeddingSpace.of
    spaces: dict[bytes, EmbeddingSpace] = {}

    def shared(background: BackgroundStatistics) -> EmbeddingSpace:
        digest = hashlib.blake2b(background.mean.tobytes() + background.covariance.tobytes()).digest()
        if digest not in spaces:
            space = compute(background)
            space.mean.flags.writeable = space.root.flags.writeable = False
            spaces[digest] = space
        return spaces[digest]

    EmbeddingSpace.of = staticmethod(shared)


share_embedding_spaces()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    result = yield
    gc.freeze()
    gc.enable()
    return result


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order tests by folder. Those of a module run in one process, which makes its fixtures once."""
    for item in items:
        if _is_on_postgresql(item) and item.get_closest_marker("postgresql") is None:
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(1800))  # some take ten minutes on two idle cores
    items.sort(key=lambda item: FOLDERS.index(_folder(item)))
    for item in items:
        # With --reruns on the command line, such as --reruns 0, that number holds for all tests.
        if _folder(item) in REPEATED and config.getoption("reruns") is None:
            item.add_marker(pytest.mark.flaky(reruns=1))
    if hasattr(config, "workerinput"):  # a process of pytest-xdist
        items[:] = _spread(items)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the slowest modules: where a whole run takes long."""
    durations_s: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                durations_s[report.nodeid.partition("::")[0]] += report.duration
    if len(durations_s) > SLOWEST:
        terminalreporter.section("slowest modules")
        for module, duration_s in durations_s.most_common(SLOWEST):
            terminalreporter.line(f"{duration_s:6.1f} s  {module}")


def _is_on_postgresql(item: pytest.Item) -> bool:
    values = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    return any(values.get(name) == "postgresql" for name in DATABASES)


def _spread(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Spread tests that often wait over the first three quarters of the modules: no core is idle."""
    waiting = [item for item in items if _folder(item) in WAITING]
    others = (item for item in items if _folder(item) not in WAITING)
    modules = [list(tests) for _, tests in groupby(others, key=lambda item: item.path)]
    order: list[pytest.Item] = []
    placed = 0
    for number, module in enumerate(modules, start=1):
        due = min(len(waiting), len(waiting) * 4 * number // (3 * len(modules)))
        order += [*waiting[placed:due], *module]
        placed = due
    return [*order, *waiting[placed:]]


def _folder(item: pytest.Item) -> str:
    return _folder_of(item.path)


@cache
def _folder_of(path: Path) -> str:
    return path.relative_to(Path(__file__).parent).parts[0]


@pytest.fixture(autouse=True)
def interrupt_handler() -> Iterator[None]:
    """Fail a test that leaves another handler of SIGINT: a later one could end the whole process."""
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) == before


@pytest.fixture(scope="session")
def test_data():
    """The folder with real photos that TAGGER_TEST_DATA names; without it, tests that need it skip."""
    value = os.environ.get("TAGGER_TEST_DATA")
    if not value:
        pytest.skip("TAGGER_TEST_DATA names no folder with real photos")
    folder = Path(value)
    if not folder.is_dir():
        pytest.fail(f"TAGGER_TEST_DATA names {folder}, which is not a folder")
    return folder


@pytest.fixture(scope="session")
def postgres_maintenance_url() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_databases(postgres_maintenance_url) -> PostgresDatabases:
    return PostgresDatabases(postgres_maintenance_url)


@pytest.fixture
def empty_postgres_url(postgres_databases) -> Iterator[str]:
    """The URL of an empty PostgreSQL database for this test."""
    with postgres_databases.empty() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_databases) -> Iterator[str]:
    """The URL of a new migrated PostgreSQL database for this test."""
    with postgres_databases.migrated() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path) -> Iterator[str]:
    """The URL of a migrated database without rows: SQLite, then PostgreSQL."""
    with _migrated_database(request, tmp_path / "database") as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request, tmp_path) -> str:
    """The URL of an empty database for this test: SQLite, then PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'database' / 'tagger.sqlite'}"
    return str(request.getfixturevalue("empty_postgres_url"))


@pytest.fixture
def database(database_url) -> Iterator[Database]:
    with closing(open_database(database_url)) as opened:
        yield opened


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared_database(request, tmp_path_factory) -> Iterator[Database]:
    """As `database`, one for all tests of a module, which leave it as it is."""
    folder = tmp_path_factory.mktemp("database")
    with _migrated_database(request, folder) as url, closing(open_database(url)) as opened:
        yield opened


@contextmanager
def _migrated_database(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield create_sqlite_database(folder / "tagger.sqlite")
        return
    databases: PostgresDatabases = request.getfixturevalue("postgres_databases")
    with databases.migrated() as url:
        yield url


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis server for this test, which may kill, pause and restart it."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def bucket_server() -> Iterator["BucketServer"]:
    from support.buckets import BucketServer

    with BucketServer() as server:
        yield server


@pytest.fixture
def bucket(bucket_server, monkeypatch) -> Iterator["Bucket"]:
    """An empty bucket that this process, and those it starts, reach through a proxy."""
    from support.buckets import open_bucket

    with open_bucket(bucket_server) as bucket:
        for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))]:
            monkeypatch.delenv(name)
        for name, value in bucket.environment().items():
            monkeypatch.setenv(name, value)
        yield bucket


@pytest.fixture
def disk(tmp_path) -> Iterator[Disk]:
    medium = Disk(tmp_path / "medium")
    yield medium
    medium.close()


@pytest.fixture
def inject(monkeypatch) -> Callable[[str, str], None]:
    """Inject a fault into child processes of this one (see faults/injected)."""

    def inject(name: str, value: str) -> None:
        monkeypatch.setenv("PYTHONPATH", injecting_path(os.environ.get("PYTHONPATH")))
        monkeypatch.setenv(f"INJECT_{name}", value)
        monkeypatch.setattr(
            "tagger.pipeline.sandbox.minimal_environment",
            lambda: injecting_environment(minimal_environment()),
        )

    return inject
