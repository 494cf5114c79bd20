"""`tagger model …` and `tagger db …` as a person types them."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError
from sqlalchemy import func, select, update
from support.artifacts import LABELS, colour_of, tiny_artifact
from support.command_line import CommandRunner
from support.commands import Terminal, draw
from support.models import ARTIFACT
from support.stored_photos import StoredPhotos

from tagger.database import Priority, Runner
from tagger.database.schema import SCHEMA_REVISION
from tagger.database.tables import contents, job_items, jobs, photos
from tagger.jobs.processing import model_cache
from tagger.ledger import NewJob, create_job, finish_scan
from tagger.ledger.items import append_items
from tagger.model.artifact import read_manifest
from tagger.tags import models_in_use


@pytest.fixture(autouse=True)
def nothing_ships(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(
        models_in_use, "shipped_file", lambda kind="landmarks": tmp_path / "package" / f"{kind}.pt"
    )


def test_a_model_is_added_listed_put_in_use_and_shown(tagger, tmp_path):
    tiny_artifact(tmp_path / "a.pt")
    assert tagger("model", "list", "--json").json == []
    added = tagger("model", "add", "a.pt", "--name", "mine", "--json")
    assert (added.code, added.json["name"], added.json["in_use"]) == (0, "mine", False)
    assert added.err == "to use it, run: tagger model use mine\n"
    assert tagger("model", "add", "a.pt").text == "registered as mine\n"
    assert tagger("model", "use", "mine").text == "mine is in use\n"
    (listed,) = tagger("model", "list", "--json").json
    assert listed["in_use"] is True
    assert listed["file"] == str(tmp_path / "a.pt")
    assert {"name", "digest", "file", "in_use", "shipped", "labels", "threshold", "metrics"} <= set(listed)
    shown = tagger("model", "show", "--json").json
    assert shown["manifest"]["metrics"] == {"top1": 1.0}
    assert "top1: 1.0" in tagger("model", "show", "mine").text
    assert "suggested:  nothing" in tagger("model", "show", "mine").text
    assert "mine" in tagger("model", "list").text


def test_models_and_files_are_shown_with_their_thresholds(tagger, tmp_path):
    tiny_artifact(tmp_path / "a.pt", suggestion_threshold=0.3)
    assert "suggested:  from 0.3 on" in tagger("model", "show", "a.pt").text
    assert tagger("model", "show", "a.pt", "--json").json["manifest"]["suggestion_threshold"] == 0.3
    with pytest.raises(ValidationError, match="suggestion_threshold is above threshold"):
        tiny_artifact(tmp_path / "b.pt", threshold=0.5, suggestion_threshold=0.6)
    assert tagger("model", "list", "--json").json == []
    refused = tagger("model", "use", "a.pt", code=1)
    assert "No model is registered as a.pt (registered: none)" in refused.err
    assert "register a file with `tagger model add FILE`" in refused.err


def test_several_models_tag_photos_together(tagger, tmp_path):
    tag_with(tagger, tmp_path)
    used = tagger("model", "use", "gate", "tower", "--json").json
    assert (used["name"], used["models"]) == ("gate", ["gate", "tower"])
    assert tagger("model", "list").text.splitlines()[1].startswith("*2\ttower")
    assert tagger("status", "--json").json["models"] == ["gate", "tower"]
    tagger("tag", "photos", "--again")
    assert tags(tagger) == {"tower.jpg": ("eiffel-tower", "tower"), "gate.jpg": ("brandenburg-gate", "gate")}
    assert tagger("backfill", "outdated", "--dry-run").text.startswith("0 photos")
    (tmp_path / "a.pt").rename(tmp_path / "away.pt")
    for command in (["tag", "photos", "--again"], ["backfill", "all", "--local"]):
        half = tagger(*command, code=3)
        assert "warning: job" in half.err
        assert "a.pt" in half.err
        assert "Until then, the job's other models classify its photos." in half.err
    (tmp_path / "away.pt").rename(tmp_path / "a.pt")
    assert tagger("tag", "photos", "--again").code == 0
    fewer = tagger("model", "use", "gate")
    assert "tags of tower no longer count where gate classified the photo; they are kept\n" in fewer.err
    assert tagger("model", "use", "gate").err == ""  # it was in use already
    assert tags(tagger).keys() == {"gate.jpg"}


def tags(tagger: CommandRunner) -> dict[str, tuple[str, str | None]]:
    """The only tag of each photo, and its model, by the name of the file."""
    found = {}
    for photo in tagger("query", "--json").json:
        (tag,) = photo["tags"]
        found[Path(photo["path"]).name] = (tag["landmark"], tag["model"])
    return found


def test_status_says_which_models_in_use_cannot_be_loaded(tagger, tmp_path):
    for number, name in enumerate(("changed", "missing")):
        tiny_artifact(tmp_path / f"{name}.pt", seed=number, name=name)
        tagger("model", "add", f"{name}.pt")
    tagger("model", "use", "changed", "missing")
    assert tagger("status", "--json").json["model_problems"] == []
    (tmp_path / "changed.pt").write_bytes(b"another model")
    (tmp_path / "missing.pt").unlink()
    status = tagger("status")
    assert "changed.pt is not the one registered as changed" in status.err
    assert "The file of model missing is missing" in status.err
    assert len(tagger("status", "--json").json["model_problems"]) == 2


def tag_with(tagger: CommandRunner, folder: Path) -> None:
    """Two photos that the model tower classified: it knows the first one, and the model gate the second."""
    tiny_artifact(folder / "a.pt", LABELS[:1], name="tower")
    tiny_artifact(folder / "b.pt", LABELS[:2], seed=1, name="gate")
    for path, position, seed in (("photos/tower.jpg", 0, 0), ("photos/gate.jpg", 1, 1)):
        (folder / path).parent.mkdir(exist_ok=True)
        Image.new("RGB", (80, 60), colour_of(position, 1 + seed, seed)).save(folder / path)
    for file in ("a.pt", "b.pt"):
        tagger("model", "add", file)
    tagger("model", "use", "tower")
    tagger("tag", "photos")


def test_a_new_model_is_put_in_use_beside_those_in_use(tagger, tmp_path, monkeypatch):
    tag_with(tagger, tmp_path)
    tiny_artifact(tmp_path / "c.pt", seed=3)
    added = tagger("model", "add", "c.pt", "--name", "my places")
    assert added.err == "to use it beside tower, run: tagger model use tower 'my places'\n"
    tagger("model", "use", "tower", "gate")
    assert (
        "beside tower and gate, run: tagger model use tower gate 'my places'"
        in tagger("model", "add", "c.pt").err
    )
    assert "to use it" not in tagger("model", "add", "b.pt").err
    monkeypatch.setattr(
        models_in_use, "shipped_file", lambda kind="landmarks": ARTIFACT.with_name(f"{kind}.pt")
    )
    monkeypatch.setenv("TAGGER_DATABASE_URL", f"sqlite:///{tmp_path}/new/tagger.sqlite")
    shipped = read_manifest(ARTIFACT).name
    assert f"run: tagger model use {shipped} things tower\n" in tagger("model", "add", "a.pt").err


def test_use_says_first_what_a_model_would_name_and_how_to_take_it_back(tagger, tmp_path):
    tag_with(tagger, tmp_path)
    preview = tagger("model", "use", "tower", "gate", "--dry-run")
    gate = tmp_path / "photos" / "gate.jpg"
    says = r"gate would name 1 photo, 1 of them unknown so far, in \d+ ms of a core each:"
    says += re.escape(f"\n  {gate}: Brandenburg Gate\n")
    assert re.search(says, preview.err)
    assert "take it back" not in preview.err
    assert tagger("status", "--json").json["models"] == ["tower"]
    (found,) = tagger("model", "use", "tower", "gate", "--dry-run", "--json").json["would_name"]
    assert found.pop("ms_per_photo") > 0
    assert found == {
        "model": "gate",
        "tried": 2,
        "named": 1,
        "unknown_so_far": 1,
        "photos": {str(gate): "Brandenburg Gate"},
    }
    used = tagger("model", "use", "tower", "gate")
    assert re.search(f"{says}(.*\n)*to take it back, run: tagger model use tower\n", used.err)
    assert "would name" not in tagger("model", "use", "gate", "tower").err  # both are in use


def test_a_model_that_cannot_run_here_is_used_only_by_force(tagger, tmp_path, monkeypatch):
    tag_with(tagger, tmp_path)
    monkeypatch.setattr(model_cache, "is_installed", lambda module: module != "torch")
    assert "needs the extra torch" in tagger("model", "use", "tower", "gate", code=1).err
    assert tagger("model", "use", "tower", "gate", "--force").code == 0
    outdated = tagger("backfill", "outdated")
    assert (outdated.code, outdated.text) == (1, ""), "no line for a photo that it cannot classify"
    assert "The model tower needs the extra torch" in outdated.err


def test_a_model_goes_with_its_tags_and_jobs_and_the_others_count_again(tagger, tmp_path):
    tag_with(tagger, tmp_path)
    tagger("model", "use", "tower", "gate")
    tagger("tag", "photos", "--again")
    Image.new("RGB", (81, 60), colour_of(1, 2, 1)).save(tmp_path / "photos" / "new.jpg")
    tagger("tag", "photos/new.jpg", "--model", "gate")
    assert "The model gate cannot be removed: it is in use" in tagger("model", "remove", "gate").err
    tagger("model", "use", "tower")
    tagger("confirm", "brandenburg-gate", "photos/gate.jpg")
    planned = tagger("model", "remove", "gate", "--dry-run")
    what = "all that it predicted of 3 photos (1 with an accepted tag), 0 taught places and 2 jobs"
    assert planned.text == f"gate would be removed, with {what}\n"
    assert len(tagger("model", "list", "--json").json) == 2
    removed = tagger("model", "remove", "gate")
    assert removed.text == f"gate is removed, with {what}\n"
    assert (
        "1 photo classified by no other model; to classify them, run: tagger backfill untagged" in removed.err
    )
    assert f"its file stays: {tmp_path / 'b.pt'}" in removed.err
    assert [model["name"] for model in tagger("model", "list", "--json").json] == ["tower"]
    assert tags(tagger) == {"tower.jpg": ("eiffel-tower", "tower"), "gate.jpg": ("brandenburg-gate", None)}
    assert tagger("backfill", "untagged", "--dry-run").text.startswith("1 photo would")
    assert tagger("db", "check").code == 0
    assert tagger("model", "remove", "gate").code == 1
    last = max(job["job"] for job in tagger("status", "--json").json["jobs"])
    assert last < tagger("tag", "photos", "--again", "--json").json["job"] - 1, "no number comes again"


def test_a_dry_run_changes_nothing_and_names_have_limits(tagger, tmp_path):
    tiny_artifact(tmp_path / "a.pt")
    assert "would be registered as tiny" in tagger("model", "add", "a.pt", "--dry-run").text
    assert tagger("model", "list", "--json").json == []
    tagger("model", "add", "a.pt")
    assert "registered already as tiny" in tagger("model", "add", "a.pt", "--dry-run", "--name", "new").text
    assert "would be put in use" in tagger("model", "use", "tiny", "--dry-run").text
    assert tagger("model", "list", "--json").json[0]["in_use"] is False
    for name in ("a\nb", "x" * 201, " ", "a/b", "b.pt"):
        for options in ((), ("--dry-run",)):
            refused = tagger("model", "add", "a.pt", "--name", name, *options)
            assert (refused.code, refused.err.startswith("error: Invalid argument: ")) == (2, True), name


def test_verify_reads_to_the_last_byte_and_knows_what_was_registered(tagger, tmp_path):
    file = tmp_path / "a.pt"
    tiny_artifact(file)
    assert tagger("model", "verify", "a.pt", "--json").json["registered_as"] is None
    tagger("model", "add", "a.pt")
    for name in ("a.pt", "tiny"):
        assert tagger("model", "verify", name, "--json").json["registered_as"] == "tiny"
    sound = file.read_bytes()
    tiny_artifact(file, seed=1)
    assert "digest differs" in tagger("model", "verify", "a.pt", code=1).err
    file.write_bytes(sound.replace(b"colours", b"COLOURS", 1))
    assert tagger("model", "verify", "a.pt").code == 1


def test_db_upgrade_tells_what_it_did(tagger, tmp_path):
    planned = tagger("db", "upgrade", "--dry-run", "--json").json
    assert planned == {"before": None, "after": SCHEMA_REVISION, "dry_run": True}
    assert not (tmp_path / "data").exists()
    assert tagger("db", "upgrade").text == f"the database was created (schema {SCHEMA_REVISION})\n"
    assert "up to date" in tagger("db", "upgrade").text


def test_db_stats_count_what_is_there_and_db_check_names_what_does_not_add_up(
    tagger, sqlite_database, tmp_path
):
    known = StoredPhotos.with_tiny_model(sqlite_database, tmp_path)
    known.photo("a.jpg", ("eiffel-tower", 0.9, True), digest=f"1-{1:064x}")
    known.photo("b.jpg", ("eiffel-tower", 0.1, False), digest=f"1-{2:064x}")
    known.photo("new.jpg", classified=False)
    known.photo("gone.jpg", classified=False)
    known.gone("gone.jpg")
    numbers = tagger("db", "stats", "--json").json
    counts = {"photos": 3, "gone": 1, "contents": 2, "tagged": 1, "unknown": 1, "not_classified": 1}
    assert (numbers, numbers["size_bytes"] > 0) == (numbers | counts, True)
    assert "photos:" in tagger("db", "stats").text
    new = NewJob(known.model.id, top_k=5, threshold=0.5, runner=Runner.LOCAL, priority=Priority.BULK)
    job = create_job(sqlite_database, new)
    with sqlite_database.write() as connection:
        append_items(connection, job, {1: False, 2: False})
    finish_scan(sqlite_database, job)
    read = {"classified_size_bytes": 1000, "classified_mtime_ns": 1}
    with sqlite_database.write() as connection:
        connection.execute(update(jobs).values(total=3))
        connection.execute(update(photos).where(photos.c.path == "new.jpg").values(read))
        connection.execute(update(contents).values(outcome="tagged"))
    output = tagger("db", "check", "--json")
    assert (output.code, output.json["ok"]) == (1, False)
    problems = "\n".join(output.json["problems"])
    for told in ("job 1: its total", "photo 3: its file counts as classified", "image 1-"):
        assert told in problems


def items(terminal: Terminal) -> int:
    with terminal.database() as database, database.read() as connection:
        return connection.scalar(select(func.count()).select_from(job_items)) or 0


def test_pruned_jobs_keep_their_counts_and_their_writes_can_be_undone(terminal):
    photo = terminal.folder / "photos" / "a.jpg"
    draw(photo)
    (terminal.folder / "photos" / "broken.jpg").write_bytes(b"no photo")
    before = photo.read_bytes()
    terminal.run("tag", "photos", "--write", "embed", code=3)
    assert photo.read_bytes() != before
    recent = terminal.run("db", "prune", "--older-than", "90d")
    assert recent.stdout == "0 items of 0 jobs removed\n"
    with terminal.database() as database, database.write() as connection:
        long_ago = datetime.now(UTC) - timedelta(days=100)
        connection.execute(update(jobs).values(finished_at=long_ago))
    shown = terminal.json("status")["jobs"]
    writes = next(each["job"] for each in shown if each["kind"] == "write")
    planned = terminal.json("db", "prune", "--older-than", "90d", "--dry-run")
    count = items(terminal)
    assert planned == {"jobs": 2, "items": count, "dry_run": True}
    assert terminal.run("db", "prune", "--older-than", "90d").stdout == f"{count} items of 2 jobs removed\n"
    assert items(terminal) == 0
    assert terminal.json("status")["jobs"] == [each | {"items_removed": each["total"]} for each in shown]
    assert terminal.run("db", "check").stdout == "the database is consistent\n"
    assert [each["kind"] for each in terminal.json("job", "failures")] == ["not-an-image"]
    assert terminal.run("show", "photos/a.jpg").returncode == 0
    terminal.run("metadata", "undo", "--job", str(writes))
    assert photo.read_bytes() == before
