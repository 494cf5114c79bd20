"""One library on SQLite and PostgreSQL: pages and API are equal, and the API agrees with commands."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from support.colour_folders import TaggedFolder
from support.command_line import run_command
from support.library_photos import EIFFEL, GATE, VERSAILLES, LibraryPhotos, picture
from support.page_server import client_of_page, settings_in

from tagger.cli.main import main
from tagger.database import Priority, VerdictKind
from tagger.database.connection import Database, open_database
from tagger.jobs.enqueue.schedules import add_schedule
from tagger.jobs.enqueue.submission import Backfill, BackfillScope
from tagger.kept.update import update_kept
from tagger.settings import Settings
from tagger.verdicts import give_verdicts
from tagger.web import state as overview

FIRST = datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)
VIEWS = (
    "/places", "/trips", "/map", "/photos?unknown=1", "/photos?landmark=eiffel-tower&q=%C3%A9iffel+x",
    "/landmarks/eiffel-tower", "/photos", "/photos?any_rank=1", "/photos?min_score=0.75", "/photos?calendar_month=1&any_rank=1", "/photos?near=48.86,2.29",
    "/photos?taken_after=2026-01-04&taken_before=2026-01-20", "/photos?country=france&any_rank=1", "/photos?untagged=1",
    "/photos?under={root}/%C3%89t%C3%A9", "/photos/1?landmark=eiffel-tower", "/photos/5?any_rank=1&within=1", "/photos/22", "/review",
    "/jobs", "/jobs/new", "/photos?position=neighbour", "/photos?near=43.7,7.2&unknown=1", "/photos/2",
)  # fmt: skip
ANSWERS = (
    "/api/landmarks", "/api/landmarks?all=1", "/api/photos", "/api/photos?any_rank=1&limit=7",
    "/api/photos.csv?any_rank=1", "/api/photos.geojson", "/api/photos/1",
    "/api/photos?landmark=nowhere", "/api/photos?under={root}/%C3%89t%C3%A9", "/api/status",
    "/api/photos?near=43.7,7.2&radius_km=500",
)  # fmt: skip


def fill(database: Database, settings: Settings, root: Path) -> None:
    """Add photos with and without landmarks and dates, copies, odd names and verdicts."""
    library = LibraryPhotos(database, settings, root)
    slugs = (EIFFEL, GATE, VERSAILLES)
    for n in range(40):
        name: str | bytes = (
            b"odd-\xff%d.jpg" % n if n % 9 == 0 else f"{('Été', 'ete', 'Z_')[n % 3]}/{n} %.jpg"
        )
        predictions = [(slugs[n % 3], 0.6 + n / 100, n % 4 > 0), (slugs[(n + 1) % 3], 0.55, n % 5 == 0)]
        taken_at = FIRST + timedelta(days=n // 2) if n % 7 else None
        classified = n % 11 > 0
        library.file(
            name, *predictions, digest=f"picture {n // 2 * 2}", classified=classified, taken_at=taken_at,
            data=picture((n, 90, 90)), mtime_ns=n, size_bytes=1000,
        )  # fmt: skip
    library.verdict("picture 4", EIFFEL, "confirmed")
    library.verdict("picture 14", VERSAILLES, "rejected")
    library.gone("Z_/5 %.jpg")
    for n in (1, 2, 4, 5, 7):
        source, evidence = ("neighbour", {"before": 5, "before_s": 60}) if n % 2 else ("camera", {})
        library.position(
            f"{('Été', 'ete', 'Z_')[n % 3]}/{n} %.jpg", 43.0 + n / 10, 7.2, "France", source, **evidence
        )


@pytest.fixture
def clients(tmp_path, postgres_url, monkeypatch) -> Iterator[list[TestClient]]:
    """A client for each database. Pages wait for their numbers and suggestions, however long that takes."""
    monkeypatch.setattr(overview, "WAIT_S", 60.0)
    monkeypatch.setattr(overview, "FIRST_SEARCH_WAIT_S", 60.0)
    settings = settings_in(tmp_path)
    with ExitStack() as stack:
        clients = []
        for url in (f"sqlite:///{tmp_path / 'library.sqlite'}", postgres_url):
            database = stack.enter_context(closing(open_database(url)))
            fill(database, settings, tmp_path / "photos")
            clients.append(stack.enter_context(client_of_page(settings, database)))
        yield clients


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_pages_and_documents_are_equal_on_both_databases(clients, tmp_path, every):
    for view in (*VIEWS, *ANSWERS)[::every]:
        address = view.format(root=tmp_path / "photos")
        on_sqlite, on_postgresql = (client.get(address) for client in clients)
        assert on_sqlite.status_code == on_postgresql.status_code, view
        assert on_postgresql.text == on_sqlite.text, view


@pytest.fixture
def typed(web_settings, monkeypatch) -> Callable[..., Any]:
    """`typed("query")` runs that command with --json in this process and returns its document."""
    monkeypatch.setenv("TAGGER_DATABASE_URL", web_settings.effective_database_url)
    monkeypatch.setenv("TAGGER_DATA_FOLDER", str(web_settings.data_folder))
    monkeypatch.delenv("TAGGER_CONFIG", raising=False)

    def run(*arguments: object) -> Any:
        return run_command(main, *arguments, "--json").json

    return run


def test_the_api_returns_what_the_commands_print(client, web_database, tmp_path, typed):
    (tmp_path / "library").mkdir()
    folder = TaggedFolder(web_database, tmp_path / "library")
    photos = [folder.draw(f"{n}.jpg", n % 3, shade=n) for n in range(6)]
    (folder.folder / "broken.jpg").write_bytes(b"\xff\xd8no photo")
    folder.tag()
    nightly = Backfill(BackfillScope.UNTAGGED)
    add_schedule(web_database, "every / night", "0 3 * * *", nightly, Priority.BULK, "Europe/Paris")
    # Not through the page, which would compute positions between two of the answers below.
    give_verdicts(web_database, [photos[1]], GATE, VerdictKind.REJECTED, "ada", {})
    update_kept(web_database)

    def api(path: str) -> Any:
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    assert api("/api/landmarks") == typed("landmark", "list")
    assert api("/api/landmarks?all=1&country=france") == typed(
        "landmark", "list", "--all", "--country", "france"
    )
    assert api("/api/photos")["photos"] == typed("query")
    photos_of_landmark = api("/api/photos?any_rank=1&landmark=eiffel-tower")["photos"]
    assert photos_of_landmark == typed("query", "--any-rank", "--landmark", EIFFEL)
    numbers = {Path(each["path"]).name: each["id"] for each in api("/api/photos?any_rank=1")["photos"]}
    for path in photos[:2]:
        assert api(f"/api/photos/{numbers[path.name]}") == typed("show", path)
    assert api("/api/jobs/1/failures")["failures"] == typed("job", "failures", 1)
    assert api("/api/status")["jobs"] == typed("status")["jobs"]
