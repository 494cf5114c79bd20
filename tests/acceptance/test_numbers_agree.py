"""A job, the list below it, queries, SQL, Python and `show` tell the same numbers, whatever decides about tags."""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.artifacts import tiny_artifact
from support.camera_photos import draw_shot

import tagger
from tagger.cli.output.job_text import job_report
from tagger.database.connection import open_database
from tagger.ledger.job_control import find_job
from tagger.query.details import photo_details
from tagger.query.options import PhotoQuery
from tagger.query.timeline import count_all

PARIS, BERLIN, TOKYO = (48.8584, 2.2945), (52.5163, 13.3777), (35.68, 139.77)
Shot = tuple[int | None, int | None, tuple[float, float] | None, str]
shots = st.lists(
    st.tuples(
        st.sampled_from((None, 0, 1)),  # whose colour it has
        st.sampled_from((None, 0, 30, 24 * 60, 26 * 60)),  # minutes after a noon
        st.sampled_from((None, None, PARIS, BERLIN, TOKYO)),
        st.sampled_from(("EOS 5D", "PowerShot")),
    ),
    min_size=2,
    max_size=8,
)


@settings(max_examples=4)
@given(first=shots, more=shots, is_rejected=st.booleans())
def test_all_numbers_of_jobs_agree(
    tmp_path_factory: pytest.TempPathFactory, first: list[Shot], more: list[Shot], *, is_rejected: bool
) -> None:
    folder = tmp_path_factory.mktemp("library")
    tiny_artifact(folder / "tiny.pt", suggestion_threshold=0.2)
    model = folder / "tiny.pt"
    options = {"model": model, "device": "cpu", "backend": "torchscript"}
    with tagger.open(folder / "tagger.sqlite", create=True, **options) as library:
        jobs = [library.tag(draw(folder / name, some)) for name, some in (("a", first), ("b", more))]
        for job in jobs:  # as it said when it ended
            assert job.tagged + job.unknown == job.total
        assert jobs[-1].tagged == outcomes(library, jobs[-1])["tagged"]
        if is_rejected and (tagged := list(library.photos())):
            library.reject(tagged[0].tags[0].landmark, tagged[0])
        for job in jobs:
            job.refresh()
            assert outcomes(library, job) == Counter({"tagged": job.tagged, "unknown": job.unknown})
            assert_agreement(folder, job)


def outcomes(library: tagger.Library, job: tagger.Job) -> Counter[str]:
    """By the photos of the job."""
    return Counter(str(photo.outcome) for photo in library.photos(job=job.number))


def draw(folder: Path, shots: Sequence[Shot]) -> Path:
    for number, (label, minutes, gps, model) in enumerate(shots):
        draw_shot(folder / f"{folder.name}{number}.jpg", minutes, gps=gps, label=label, model=model)
    return folder


def assert_agreement(folder: Path, job: tagger.Job) -> None:
    """By the list below the job, `query`, SQL and `show`."""
    database = open_database(f"sqlite:///{folder}/tagger.sqlite")
    report, _ = job_report(database, find_job(database, job.number))
    assert sum(each.photos for each in report["landmarks"]) == job.tagged  # none has two
    accepted = PhotoQuery(job=job.number, min_score=0.0001)
    assert count_all(database, accepted, {}) == job.tagged
    connection = sqlite3.connect(folder / "tagger.sqlite")
    of_job = f"SELECT photo_id FROM job_items WHERE job_id = {job.number}"
    in_sql = f"SELECT count(DISTINCT photo_id) FROM photo_tags WHERE accepted AND photo_id IN ({of_job})"
    items = f"SELECT outcome, count(*) FROM job_items WHERE job_id = {job.number} GROUP BY outcome"
    assert connection.execute(in_sql).fetchone() == (job.tagged,)
    assert Counter(dict(connection.execute(items).fetchall())) == Counter(
        {"tagged": job.tagged, "unknown": job.unknown}
    )
    connection.close()
    for path in sorted((folder / "ab"[job.number - 1]).iterdir()):
        details = photo_details(database, path)
        assert details.job is not None
        assert details.photo.outcome == details.job.outcome
    database.close()
