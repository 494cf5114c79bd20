"""The Python interface, as a script uses it, on a real library. The strict type check covers this script."""

import ast
import json
import os
import pickle
import re
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.camera_photos import SAMPLES, copy_samples
from support.command_line import run_command, run_program
from support.commands import draw, draw_many
from support.databases import audit_entries
from support.teaching import teachable_artifact

import tagger
from tagger.database.connection import AuditAction
from tagger.errors import (
    LandmarkNotFound,
    LibraryClosed,
    NotFound,
    PathNotFound,
    PhotoNotFound,
    QueryOptionInvalid,
    TaggerError,
)

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "reference" / "python.md"
NOTEBOOK = DOCS / "notebooks" / "from-folder-to-map.ipynb"


@pytest.fixture
def library(tmp_path, terminal) -> Iterator[tagger.Library]:
    model = terminal.environment["TAGGER_MODEL"]
    with tagger.open(tmp_path / "library.sqlite", create=True, model=model) as library:
        yield library


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Iterator[tagger.PhotoModel]:
    file = tmp_path_factory.mktemp("model") / "model.pt"
    teachable_artifact(file)
    model = tagger.load_model(file, device="cpu")
    yield model
    model.close()


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    draw_many(folder, 5)
    (folder / "broken.jpg").write_bytes(b"no photo")
    return folder


def test_a_folder_is_tagged_with_progress_and_its_failures_say_why(library, photos):
    seen: list[tagger.Job] = []
    job = library.tag(photos, on_progress=seen.append)
    job.wait()
    assert (job.state, job.total, job.tagged, job.unknown, job.failed) == ("finished", 6, 4, 1, 1)
    assert seen[0].number == job.number
    (failure,) = job.failures()
    assert (Path(failure.path).name, failure.kind) == ("broken.jpg", "not-an-image")
    found = {each.landmark: (each.name, each.photos) for each in job.landmarks}
    assert found["eiffel-tower"] == ("Eiffel Tower", 1)
    assert len(found) == 4
    assert library.tag([photos]).skipped == 5
    assert [each.number for each in library.jobs()] == [2, 1]


RIGHT = """
from datetime import date
from pathlib import Path
import tagger

with tagger.open() as library:
    photos = library.photos(
        landmark=["eiffel-tower", "louvre"], near=(48.8, 2.3), taken_after=date(2019, 1, 1),
        under=Path("photos"), year=2019, sort="newest", limit=3, text="paris", any_rank=True,
    )
    names: list[str] = [tag.name for photo in photos for tag in photo.tags]
    library.backfill("untagged", country="France")
"""
WRONG = """
import tagger
with tagger.open() as library:
    library.photos(landmrk="eiffel-tower")
    library.photos(year="2019")
    library.photos(sort="size")
    library.backfill("untagged", limit=3)
    library.photo(3)
"""


@pytest.mark.slow
def test_type_checkers_of_other_projects_check_scripts(tmp_path):
    for name, code in (("right", RIGHT), ("wrong", WRONG)):
        (tmp_path / f"{name}.py").write_text(code)
    cache = DOCS.parent / "build" / "mypy-of-scripts"
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", cache, "right.py", "wrong.py"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    checked = run_program(*command, code=1, cwd=tmp_path, env=environment, timeout=600)
    errors = re.findall(r"^(\w+)\.py:(\d+): error: ", checked.stdout, re.MULTILINE)
    assert errors == [("wrong", str(line)) for line in range(4, 9)], checked.stdout + checked.stderr


def test_nothing_of_a_closed_library_works(library, photos):
    job, found = library.tag(photos), library.photos()
    library.close()
    library.close()
    uses: list[Callable[[], object]] = [
        lambda: list(found),
        found.to_dataframe,
        lambda: library.photos().__iter__(),
        library.jobs,
        job.refresh,
        lambda: list(job.failures()),
        lambda: library.tag(photos),
        lambda: library.photo(photos / "a.jpg"),
        lambda: library.confirm("eiffel-tower", photos / "a.jpg"),
    ]
    for use in uses:
        with pytest.raises(LibraryClosed, match=r"Open it again with tagger\.open"):
            use()


def test_photos_are_found_by_conditions_of_one_value_or_several_of_any_kind(library, photos):
    assert library.tag(iter([photos]), include="00000.*").total == 1
    assert len(list(library.photos(job=np.int64(1), year=None, country=["France", "Germany"]))) == 1
    assert not list(library.photos(year=np.int64(1990)))
    library.tag(photos)
    found = library.photos(landmark="eiffel-tower", under=photos, limit=1)
    assert [photo.tags[0].name for photo in found] == ["Eiffel Tower"]
    assert len(list(found)) == 1  # read anew
    assert len(list(library.photos(text="EIFFEL tower", limit=1))) == 1
    assert not list(library.photos(taken_after=date(2024, 6, 1)))
    assert not list(library.photos(taken_after=datetime.fromisoformat("2024-06-01T18:00")))
    assert len(list(library.photos(unknown=True))) == 1
    with pytest.raises(QueryOptionInvalid):
        library.photos(unknown=True, landmark="eiffel-tower")
    with pytest.raises(LandmarkNotFound):
        iter(library.photos(landmark="nowhere"))


def test_a_data_frame_has_a_row_for_each_tag(library, photos):
    library.tag(photos)
    frame = library.photos().to_dataframe()
    assert (len(frame), set(frame["landmark"])) == (4, {photo.tags[0].landmark for photo in library.photos()})
    empty = library.photos(landmark="eiffel-tower", min_score=1, year=1990).to_dataframe()
    assert list(empty.columns) == list(frame.columns)
    for each in (frame, empty):
        assert each["taken_at"].dtype == "datetime64[us]"
    assert list(frame["taken_at"].dropna()) == [
        photo.taken_at for photo in library.photos() if photo.taken_at
    ]


def test_a_query_and_a_photo_are_shown_on_a_line_and_in_notebooks_as_a_table(library, tmp_path):
    folder = tmp_path / "<b>"
    draw_many(folder, 25)
    library.tag(folder)
    assert repr(library.photos()) == "<Photos>"
    assert (
        repr(library.photos(country="France", year=[2012, 2015]))
        == "<Photos country=France year=[2012, 2015]>"
    )
    table = library.photos(any_rank=True)._repr_html_()
    assert (table.count("<tr>"), "<b>" in table, "&lt;b&gt;" in table) == (1 + 20, False, True)
    assert library.photos(landmark="eiffel-tower", limit=1)._repr_html_().count("<tr>") == 1 + 1
    library.tag(draw(tmp_path / "long" / f"{'tower' * 20}\n.jpg", 0, seed=99))
    (photo,) = library.photos(under=tmp_path / "long")
    assert repr(photo) == f"<Photo {('tower' * 20)[-35:]}\\n.jpg: Eiffel Tower>"
    assert repr(library) == f"<Library sqlite:///{tmp_path}/library.sqlite>"


def test_verdicts_change_the_tags(library, photos):
    library.tag(photos)
    first = next(iter(library.photos(landmark="eiffel-tower")))
    library.reject("eiffel-tower", first)
    assert library.photo(first.path).tags[0].verdict == "rejected"
    with pytest.raises(PhotoNotFound):
        library.confirm("brandenburg-gate", [first.path, photos / "nowhere.jpg"])
    assert all(tag.verdict != "confirmed" for tag in library.photo(first.path).tags)
    with pytest.raises(PathNotFound):
        library.tag(photos / "nowhere")


def test_what_was_written_is_undone_of_a_photo_a_folder_and_a_job(library, photos):
    originals = {path: path.read_bytes() for path in photos.rglob("*.*")}
    library.tag(photos, write="embed")
    written = [path for path in originals if path.read_bytes() != originals[path]]
    job = library.jobs()[0]
    undone = library.undo(written[0])
    assert (undone.state, undone.total, undone.written) == ("finished", 1, 1)
    assert written[0].read_bytes() == originals[written[0]] != written[1].read_bytes()
    assert (library.undo(job=job.number).total, library.undo(photos).total) == (3, 0)
    assert {path: path.read_bytes() for path in photos.rglob("*.*")} == originals
    with pytest.raises(ValueError, match="name photos"):  # of release 1.0, and a TaggerError
        library.undo()
    with pytest.raises(PhotoNotFound):
        library.undo(photos / "nowhere.jpg")


def test_a_backfill_runs_here_where_no_worker_does(library, photos):
    library.tag(photos)
    job = library.backfill("all", under=photos)
    assert (job.state, job.tagged, job.unknown, job.failed) == ("finished", 4, 1, 1)
    assert library.backfill("all", landmark="eiffel-tower", verdict="none").total == 1
    with pytest.raises(QueryOptionInvalid):
        library.backfill("all", unknown=True)


def test_an_enqueued_job_waits_for_workers(library, photos):
    job = library.enqueue(photos)
    with pytest.raises(TimeoutError):
        job.wait(timeout_s=0)
    assert job.waiting == 6
    for _ in range(2):  # the second time changes nothing
        job.cancel()
        assert library.job(job.number).state == "cancelled"
    entries = audit_entries(library._database, AuditAction.JOB_CANCEL)
    assert [entry.subject for entry in entries] == [str(job.number)]


WRONG_CALLS: tuple[tuple[Callable[[tagger.Library], object], str], ...] = (
    (lambda library: library.tag(".", write="exif"), "write: 'exif'.* sidecar, embed"),
    (lambda library: library.enqueue(".", priority="now"), "priority: 'now'.* interactive, bulk"),
    (lambda library: library.backfill("everything"), "untagged, outdated, failed, all, taught"),
    (lambda library: library.backfill("all", text="Paris"), "text: there is no such .* landmark, country"),
    (lambda library: library.photos(countri="France"), "countri: there is no such .* landmark, country"),
    (lambda library: library.photos(year="May"), "year: 'May' is not a whole number"),
    (lambda library: library.photos(min_score="high"), "min_score: 'high' is not a number"),
    (lambda library: library.photos(country=3), "country: 3 is not a text"),
    (lambda library: library.photos(near=3), "near: '3' is not a position"),
    (lambda library: library.photos(taken_after=2019), "taken_after: '2019' is not a date"),
    (lambda library: library.tag(3), "3 is not a path"),
    (lambda library: library.photo("a\0b"), "null character"),
    (lambda library: library.confirm(3, "a.jpg"), "landmark: 3 is not a text"),
    (lambda library: library.teach("Our tower", "a.jpg", at=3), "latitude and longitude"),
    (lambda library: library.landmarks(country=3), "country: 3 is not a text"),
    (lambda library: library.job(10**30), "no job 1000"),
    (lambda library: library.undo(), "photos: name photos"),
)


def test_a_wrong_argument_is_an_error_that_says_what_is_possible(library):
    for call, text in WRONG_CALLS:
        with pytest.raises(TaggerError, match=text):
            call(library)
    assert library.jobs() == []


def test_a_mistyped_file_is_no_new_library(tmp_path):
    for address in (tmp_path / "trial.sqlite", f"sqlite:///{tmp_path}/trial.sqlite"):
        with pytest.raises(NotFound, match=r"trial\.sqlite\. .*create=True"):
            tagger.open(address)
    odd = tmp_path / "new" / "50%20 ?#.sqlite"
    tagger.open(odd, create=True).close()
    assert odd.is_file()
    tagger.open(str(odd)).close()


def test_what_cannot_be_sent_to_another_process_says_so(library, photos):
    job = library.tag(photos)
    first = next(iter(library.photos()))
    for bound in (library, job, library.photos(), library.photo):
        with pytest.raises(TaggerError, match=r"call tagger\.open"):
            pickle.dumps(bound)
    assert pickle.loads(pickle.dumps(first)) == first


FORK = """
import multiprocessing, tagger

library = tagger.open()
model = library.load_model()

def use(number):
    return library.jobs() if number == 0 else model.predict(b"")

for number in (0, 1):
    with multiprocessing.get_context("fork").Pool(1) as pool:
        try:
            pool.apply_async(use, [number]).get(timeout=60)
        except tagger.errors.TaggerError as error:
            print(error)
"""


def test_a_fork_of_the_process_uses_neither_its_library_nor_its_model(terminal):
    done = terminal.run_process("-c", FORK, program="python")
    assert re.findall(r"call (\S+)\.$", done.stdout, re.MULTILINE) == ["tagger.open", "tagger.load_model"]


def test_a_model_takes_each_kind_of_image_alone_or_with_others(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    file = draw(tmp_path / "tower.png", 0)
    teachable_artifact(tmp_path / "model.pt")
    model = tagger.load_model("~/model.pt", device="cpu")
    image = Image.open(file)
    pixels = np.asarray(image.convert("RGB"))
    kinds = [file, "~/tower.png", file.read_bytes(), image, image.convert("HSV").convert("RGB"), pixels]
    expected = model.embed(file)
    for kind in kinds:
        assert model.predict(kind, top_k=1) == model.predict(file, top_k=1)
        assert (model.embed(kind) == expected).all()
    assert (model.embed(iter(kinds)) == expected).all()
    assert len(model.predict(kinds)) == len(kinds)
    assert len(model.predict(np.stack([pixels, pixels]))) == 2
    assert (model.predict([]), model.embed([]).shape) == ([], (0, expected.shape[0]))
    assert model.predict(image.convert("HSV"))
    model.close()


def test_a_model_names_what_is_no_image_checks_numbers_and_is_not_sent_elsewhere(model, tmp_path):
    data = draw(tmp_path / "tower.jpg", 0, size=(400, 300)).read_bytes()
    cut = Image.open(BytesIO(data[: len(data) // 2]))
    wrong: tuple[tuple[Any, str], ...] = (
        (3, "path, bytes, .* not int"),
        ([None], "path, bytes, .* not NoneType"),
        (np.zeros((4, 4), np.uint8), r"uint8 \(H, W, 3\), and this one is uint8 \(4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), r"this one is uint8 \(0, 4, 3\)"),
        ("~/nowhere.png", "^~/nowhere.png: There is no such file"),
        ([b"no photo"], "^image 1: The content is not an image"),
        ([data, cut], "^image 2: The file ends before the image does"),
        ("a\0b", "null character"),
    )
    for images, text in wrong:
        for call in (model.predict, model.embed):
            with pytest.raises(TaggerError, match=text):
                call(images)
    for number in (0, "3"):
        with pytest.raises(TaggerError, match="top_k"):
            model.predict([], top_k=number)
    with pytest.raises(TaggerError, match=r"call tagger\.load_model"):
        pickle.dumps(model.predict)


def test_photos_are_tagged_where_warnings_are_errors(terminal, photos):
    script = f"import tagger; job = tagger.open().tag({str(photos)!r}); print(job.tagged)"
    assert terminal.run_process("-W", "error", "-c", script, program="python").stdout == "4\n"


def test_importing_the_package_imports_neither_torch_nor_the_database():
    program = "import sys, tagger; tagger.__all__; print(*sys.modules)"
    done = run_program(sys.executable, "-c", program)
    assert not {"torch", "sqlalchemy", "numpy", "pydantic"} & set(done.stdout.split())


def test_the_scripts_of_the_documentation_run(test_data, tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    copy_samples(test_data, tmp_path / "Pictures")
    script, names = compile("\n".join(blocks), PAGE.name, "exec"), dict[str, Any]()
    done = run_command(lambda: exec(script, names), environment=script_environment(tmp_path))
    names["model"].close()
    assert done.code == 0, done.err
    assert "6 2 0" in done.text.splitlines()
    assert "Alai Minar" in done.text


def test_the_notebook_uses_what_exists_and_stores_no_outputs():
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
    owners = {"tagger": tagger, "library": tagger.Library, "job": tagger.Job}
    used = [
        (node.value.id, node.attr)
        for cell in cells
        for node in ast.walk(ast.parse("".join(cell["source"])))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in owners
    ]
    assert {owner for owner, _ in used} == owners.keys()
    assert not [name for owner, name in used if not hasattr(owners[owner], name)]
    assert "pip install landmark-tagger" not in NOTEBOOK.read_text()  # nobody has registered the name


@pytest.mark.slow
def test_the_notebook_leaves_the_photos_as_they_were(test_data, tmp_path):
    copy_samples(test_data, tmp_path / "Pictures")
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    script = "\n".join("".join(cell["source"]) for cell in cells)
    done = run_program(sys.executable, "-c", script, env=script_environment(tmp_path), timeout=600)
    printed = done.stdout.splitlines()
    assert printed[0] == "6 tagged, 2 unknown, 0 skipped, 0 failed"
    assert "IMG_2034.jpg.xmp" in "".join(printed)
    assert printed[-1] == "[]"  # sidecars after the undo
    for name, sample in SAMPLES.items():
        assert (tmp_path / "Pictures" / sample).read_bytes() == (test_data / "originals" / name).read_bytes()


def script_environment(home: Path) -> dict[str, str]:
    """The environment of a script that runs without a display, with this home folder and a database there."""
    variables = {"HOME": str(home), "TAGGER_DATA_FOLDER": str(home / "data"), "MPLBACKEND": "agg"}
    # Finding the fastest size of batches takes longer than the script.
    return os.environ | variables | {"TAGGER_BATCH_SIZE": "4"}
