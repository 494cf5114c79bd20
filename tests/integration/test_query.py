"""Queries: the photos of each option, in pages of any order, on both databases."""
# ruff: noqa: DTZ001 - cameras know no time zone

import base64
import json
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, strategies as st
from sqlalchemy import insert, select, update
from support.artifacts import tiny_artifact
from support.databases import execute
from support.stored_photos import StoredPhotos

from tagger.database import Runner
from tagger.database.connection import Database
from tagger.database.tables import contents, job_items, landmarks, photos
from tagger.errors import (
    CameraNotFound,
    CountryNotFound,
    CursorInvalid,
    JobNotFound,
    LandmarkAmbiguous,
    LandmarkNotFound,
    ModelNotFound,
    PhotoNotFound,
    QueryOptionInvalid,
)
from tagger.ledger import NewJob, create_job
from tagger.query import filters, find, sorted_scan
from tagger.query.counts import landmark_counts
from tagger.query.details import photo_details
from tagger.query.filters import ResolvedQuery
from tagger.query.find import ScanPosition, find_tagged, find_tagged_page
from tagger.query.options import PhotoQuery, SortOption
from tagger.query.sorted_scan import decode_cursor, encode_cursor
from tagger.registry import add_model

EIFFEL, GATE, VERSAILLES = "eiffel-tower", "brandenburg-gate", "chateau-de-versailles"


def paths_of(library: StoredPhotos, **options: object) -> list[str]:
    """The sorted paths, relative to the root, of the photos that match; each is returned once."""
    matches = [photo.path for photo in find_tagged(library.database, PhotoQuery(**options))]
    assert len(set(matches)) == len(matches)
    return sorted(os.path.relpath(path, library.root) for path in matches)


def test_query_returns_photos_with_accepted_tags_and_only_these_tags(library):
    path = library.photo(
        "a.jpg", (EIFFEL, 0.9, True), (GATE, 0.05, False), taken_at=datetime(2026, 1, 2, 3, 4)
    )
    library.photo("nothing.jpg", (EIFFEL, 0.2, False))
    (photo,) = find_tagged(library.database, PhotoQuery())
    assert photo.path == path
    assert (photo.outcome, photo.digest, photo.width, photo.height) == ("tagged", "digest of a.jpg", 640, 480)
    assert photo.taken_at == datetime(2026, 1, 2, 3, 4)
    (tag,) = photo.tags
    assert (tag.landmark, tag.name, tag.label) == (EIFFEL, "Eiffel Tower", "00.Eiffel_Tower")
    assert (tag.score, tag.rank, tag.accepted, tag.verdict) == (0.9, 1, True, None)
    assert (tag.country, tag.latitude, tag.longitude, tag.model) == ("France", 48.8584, 2.2945, "tiny")


def test_any_rank_returns_every_classified_photo_with_its_whole_top_k(library):
    library.photo("a.jpg", (EIFFEL, 0.9, True), (GATE, 0.05, False))
    library.photo("nothing.jpg", (EIFFEL, 0.2, False), (GATE, 0.1, False))
    library.photo("new.jpg", classified=False)
    by_name = {
        Path(photo.path).name: photo for photo in find_tagged(library.database, PhotoQuery(any_rank=True))
    }
    assert {name: photo.outcome for name, photo in by_name.items()} == {
        "a.jpg": "tagged",
        "nothing.jpg": "unknown",
    }
    assert [tag.rank for tag in by_name["nothing.jpg"].tags] == [1, 2]
    assert paths_of(library, any_rank=True, landmark=GATE) == ["a.jpg", "nothing.jpg"]
    assert paths_of(library, any_rank=True, landmark=VERSAILLES) == []
    assert paths_of(library, any_rank=True, min_score=0.5) == ["a.jpg"]


def test_landmarks_are_found_by_slug_or_name_and_unknown_ones_have_close_names(library):
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    library.photo("b.jpg", (GATE, 0.9, True), (EIFFEL, 0.1, False))
    library.photo("c.jpg", (VERSAILLES, 0.9, True))
    for typed in ("eiffel-tower", "Eiffel Tower", "EIFFEL_TOWER", "eiffel tower"):
        assert paths_of(library, landmark=typed) == ["a.jpg"]
    for typed in ("CHÂTEAU DE VERSAILLES", "cha\N{COMBINING CIRCUMFLEX ACCENT}teau de versailles"):
        assert paths_of(library, landmark=typed) == ["c.jpg"]
    with pytest.raises(LandmarkNotFound, match="Did you mean Eiffel Tower"):
        find_tagged(library.database, PhotoQuery(landmark="Eifel Tower"))
    with pytest.raises(CountryNotFound, match="Did you mean France"):
        find_tagged(library.database, PhotoQuery(country="Frence"))
    with pytest.raises(ModelNotFound, match="tiny"):
        find_tagged(library.database, PhotoQuery(model="other"))


def test_names_in_other_languages_and_aliases_find_a_landmark_unless_it_is_the_name_of_another(library):
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    library.photo("b.jpg", (VERSAILLES, 0.9, True))
    with library.database.write() as connection:
        names = {
            "names": {"el": "Πύργος του Άιφελ"},
            "aliases": ["Iron Lady", "Château de Versailles", "Spire"],
        }
        connection.execute(update(landmarks).where(landmarks.c.slug == EIFFEL).values(names))
    assert paths_of(library, landmark="πυργος του αιφελ") == ["a.jpg"]
    assert paths_of(library, landmark="iron-lady") == ["a.jpg"]
    assert paths_of(library, landmark="Château de Versailles") == ["b.jpg"]
    with pytest.raises(LandmarkNotFound, match="Did you mean Eiffel Tower"):
        find_tagged(library.database, PhotoQuery(landmark="Iron Ladi"))
    with library.database.write() as connection:
        same_alias = {"aliases": ["Spire"]}
        connection.execute(update(landmarks).where(landmarks.c.slug == GATE).values(same_alias))
    with pytest.raises(LandmarkAmbiguous, match=f"{GATE}, {EIFFEL}|{EIFFEL}, {GATE}"):
        find_tagged(library.database, PhotoQuery(landmark="Spire"))


def test_scores_and_dates_limit_what_is_found(library):
    library.photo("sure.jpg", (EIFFEL, 0.95, True))
    library.photo("unsure.jpg", (EIFFEL, 0.6, True))
    library.photo("confirmed.jpg", (EIFFEL, 0.1, False), digest="c")
    library.verdict("c", EIFFEL, "confirmed")
    assert paths_of(library, min_score=0.9) == ["confirmed.jpg", "sure.jpg"]
    for narrower in (
        {"landmark": EIFFEL},
        {"under": (library.root,)},
        {"country": "France"},
        {"any_rank": True},
    ):
        assert paths_of(library, min_score=0.9, **narrower) == ["confirmed.jpg", "sure.jpg"]
    for day in (1, 2, 3):
        library.photo(f"{day}.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2026, 5, day))
    library.photo("no date.jpg", (EIFFEL, 0.9, True))
    assert paths_of(library, taken_after=datetime(2026, 5, 2)) == ["2.jpg", "3.jpg"]
    assert paths_of(library, taken_before=datetime(2026, 5, 2)) == ["1.jpg"]
    both = {"taken_after": datetime(2026, 5, 2), "taken_before": datetime(2026, 5, 3)}
    assert paths_of(library, **both) == ["2.jpg"]
    assert paths_of(library, landmark=EIFFEL, **both) == ["2.jpg"]
    assert paths_of(library, landmark=GATE, **both) == []


@pytest.mark.postgresql
def test_under_excludes_folders_whose_name_starts_alike(library):
    for path in ("italy/a.jpg", "italy/rome/b.jpg", "italy2/c.jpg", "italy.jpg", "top.jpg"):
        library.photo(path, (EIFFEL, 0.9, True))
    assert paths_of(library, under=(library.root / "italy",)) == ["italy/a.jpg", "italy/rome/b.jpg"]
    assert paths_of(library, under=(library.root / "italy" / ".." / "italy" / "rome",)) == [
        "italy/rome/b.jpg"
    ]
    assert paths_of(library, under=(library.root / "top.jpg",)) == ["top.jpg"]
    assert len(paths_of(library, under=(library.root,))) == 5
    assert len(paths_of(library, under=(library.root.parent,))) == 5
    assert paths_of(library, under=(library.root.parent / "elsewhere",)) == []
    overlapping = (library.root / "italy", library.root / "italy" / "rome", library.root / "italy2")
    assert paths_of(library, under=overlapping) == ["italy/a.jpg", "italy/rome/b.jpg", "italy2/c.jpg"]
    assert len(paths_of(library, under=(library.root / "italy", library.root))) == 5


def test_settings_map_a_root_to_its_folder_on_this_machine(library):
    library.photo("italy/a.jpg", (EIFFEL, 0.9, True))
    mounted = {"photos": Path("/mnt/library")}
    matches = list(find_tagged(library.database, PhotoQuery(under=(Path("/mnt/library/italy"),)), mounted))
    assert [photo.path for photo in matches] == ["/mnt/library/italy/a.jpg"]


def test_model_is_the_one_that_classified_the_photo_last(library, tmp_path):
    tiny_artifact(tmp_path / "other.pt", seed=1, name="other")
    other = add_model(library.database, tmp_path / "other.pt")
    library.photo("tiny.jpg", (EIFFEL, 0.9, True))
    library.photo("other.jpg", (EIFFEL, 0.9, True), model=other)
    assert paths_of(library, model="other") == ["other.jpg"]
    assert paths_of(library, model="tiny", landmark=EIFFEL) == ["tiny.jpg"]


def test_unknown_photos_are_classified_without_accepted_tags_after_verdicts(library):
    library.photo("tagged.jpg", (EIFFEL, 0.9, True))
    library.photo("unknown.jpg", (EIFFEL, 0.2, False))
    library.photo("rejected.jpg", (EIFFEL, 0.9, True), digest="r")
    library.photo("confirmed.jpg", (EIFFEL, 0.2, False), digest="c")
    library.photo("new.jpg", classified=False)
    library.verdict("r", EIFFEL, "rejected")
    library.verdict("c", EIFFEL, "confirmed")
    assert paths_of(library, unknown=True) == ["rejected.jpg", "unknown.jpg"]
    matches = list(find_tagged(library.database, PhotoQuery(unknown=True)))
    assert {photo.outcome for photo in matches} == {"unknown"}
    assert [photo.tags for photo in matches] == [(), ()]
    assert all(photo.tags for photo in find_tagged(library.database, PhotoQuery(unknown=True, any_rank=True)))


def test_untagged_photos_are_neither_classified_nor_failed(library):
    library.photo("classified.jpg", (EIFFEL, 0.2, False))
    library.photo("new.jpg", classified=False)
    library.photo("sub/new.jpg", classified=False)
    library.photo("broken.jpg", classified=False, failure_kind="truncated", failure_text="ends early")
    assert paths_of(library, untagged=True) == ["new.jpg", "sub/new.jpg"]
    assert paths_of(library, untagged=True, under=(library.root / "sub",)) == ["sub/new.jpg"]
    assert [photo.outcome for photo in find_tagged(library.database, PhotoQuery(untagged=True, limit=1))] == [
        None
    ]


def test_photos_whose_file_is_gone_are_excluded(library):
    library.photo("here.jpg", (EIFFEL, 0.9, True))
    library.photo("gone.jpg", (EIFFEL, 0.9, True))
    library.photo("gone too.jpg", classified=False)
    library.gone("gone.jpg")
    library.gone("gone too.jpg")
    assert paths_of(library) == ["here.jpg"]
    assert paths_of(library, untagged=True) == []
    assert [(count.landmark, count.photos) for count in landmark_counts(library.database)] == [(EIFFEL, 1)]


def test_readers_that_stop_hold_no_connection_and_details_have_failures(library):
    for number in range(3):
        library.photo(f"{number}.jpg", (EIFFEL, 0.9, True))
    matches = find_tagged(library.database, PhotoQuery())
    next(matches)
    library.photo("while reading.jpg", (EIFFEL, 0.9, True))
    assert len(list(matches)) == 2
    path = library.photo(
        b"caf\xe9.jpg", classified=False, failure_kind="truncated", failure_text="ends early"
    )
    details = photo_details(library.database, Path(path))
    assert details.photo.outcome == "failed"
    assert (details.failure.kind, details.failure.text) == ("truncated", "ends early")
    with pytest.raises(PhotoNotFound):
        photo_details(library.database, library.root / "other.jpg")


@pytest.mark.postgresql
def test_camera_is_found_by_make_and_model_with_and_without_its_serial_number(library):
    first = library.camera(make="Canon", model="Canon EOS 5D", serial="01")
    second = library.camera(make="Canon", model="Canon EOS 5D", serial="02")
    phone = library.camera(make="Google", model="Pixel 8")
    folder = library.camera()
    day = datetime(2026, 1, 1)
    library.photo("a.jpg", (EIFFEL, 0.9, True), camera_id=first, taken_at=day)
    library.photo("b.jpg", (EIFFEL, 0.9, True), camera_id=second)
    library.photo("c.jpg", (GATE, 0.9, True), camera_id=phone, taken_at=day)
    library.photo("d.jpg", (GATE, 0.9, True), camera_id=folder)
    library.photo("e.jpg", camera_id=first)
    assert paths_of(library, camera=("canon eos 5d",)) == ["a.jpg", "b.jpg"]
    assert paths_of(library, camera=("Canon EOS 5D (02)",)) == ["b.jpg"]
    assert paths_of(library, camera=("Google Pixel 8", "CANON EOS 5D (01)")) == ["a.jpg", "c.jpg"]
    assert paths_of(library, camera=("Canon Canon EOS 5D",), any_rank=True) == ["a.jpg", "b.jpg", "e.jpg"]
    assert paths_of(library, camera=("pixel 8",)) == ["c.jpg"]
    assert paths_of(library, camera=("Canon EOS 5D",), landmark=GATE) == []
    assert paths_of(library, camera=("Canon EOS 5D",), sort="newest", distinct=True) == ["a.jpg", "b.jpg"]
    assert paths_of(library, camera=("Canon EOS 5D",), taken_after=day) == ["a.jpg"]
    with pytest.raises(CameraNotFound, match=r"camera Canon EOS 6D\. Known cameras: Canon EOS 5D"):
        find_tagged(library.database, PhotoQuery(camera=("Canon EOS 6D",)))


def test_job_selects_its_photos_whatever_came_of_them(library, monkeypatch):
    for name in ("other.jpg", "tagged.jpg", "copy.jpg"):
        library.photo(name, (EIFFEL, 0.9, True), digest="the same")
    library.photo("unknown.jpg", (GATE, 0.2, False))
    library.photo("new.jpg", classified=False)
    library.photo("gone.jpg", (GATE, 0.9, True))
    library.gone("gone.jpg")
    job = create_job(library.database, NewJob(library.model.id, 5, 0.5, Runner.WORKERS))
    with library.database.write() as connection:
        of_job = connection.scalars(select(photos.c.id).where(photos.c.path != "other.jpg")).all()
        items = [{"job_id": job, "position": n, "photo_id": id_} for n, id_ in enumerate((None, *of_job))]
        connection.execute(insert(job_items), items)
    monkeypatch.setattr(find, "PAGE", 2)
    for sort in (None, "newest", "name"):
        found = paths_of(library, job=job, sort=sort, distinct=True)
        assert found == ["copy.jpg", "new.jpg", "tagged.jpg", "unknown.jpg"]
        assert paths_of(library, job=job, unknown=True, sort=sort) == ["unknown.jpg"]
        assert paths_of(library, job=job, untagged=True, sort=sort) == ["new.jpg"]
        assert paths_of(library, job=job, landmark=EIFFEL, sort=sort) == ["copy.jpg", "tagged.jpg"]
    with pytest.raises(JobNotFound, match="no job 99"):
        find_tagged(library.database, PhotoQuery(job=99))


def test_verdict_is_one_on_any_landmark_of_the_photo(library):
    for name in ("confirmed", "rejected", "corrected", "plain", "away"):
        library.photo(f"{name}.jpg", (EIFFEL, 0.9, True))
    library.photo("nothing.jpg")
    library.photo("new.jpg", classified=False)
    library.verdict("digest of confirmed.jpg", EIFFEL, "confirmed")
    library.verdict("digest of rejected.jpg", EIFFEL, "rejected")
    library.verdict("digest of corrected.jpg", EIFFEL, "rejected")
    library.verdict("digest of corrected.jpg", GATE, "confirmed")
    library.dismiss("digest of away.jpg")
    expected = {
        "confirmed": ["confirmed.jpg", "corrected.jpg"],
        "rejected": ["corrected.jpg", "rejected.jpg"],
        "corrected": ["corrected.jpg"],
        "any": ["confirmed.jpg", "corrected.jpg", "rejected.jpg"],
        "none": ["nothing.jpg", "plain.jpg"],
    }
    for sort in (None, "newest", "name"):
        assert {each: paths_of(library, verdict=each, sort=sort) for each in expected} == expected
    assert paths_of(library, verdict="rejected", unknown=True) == ["rejected.jpg"]
    assert paths_of(library, verdict="rejected", landmark=GATE) == ["corrected.jpg"]
    assert paths_of(library, verdict="none", min_score=0.5) == ["plain.jpg"]
    assert paths_of(library, verdict="none", unknown=True) == ["nothing.jpg"]


def test_verdict_is_found_on_a_photo_that_no_model_has_classified(library):
    library.photo("new.jpg", (EIFFEL, 0.9, True))
    library.verdict("digest of new.jpg", EIFFEL, "rejected")
    execute(library.database, update(contents).values(outcome=None, model_id=None))
    for sort in (None, "newest"):
        assert paths_of(library, verdict="rejected", sort=sort) == ["new.jpg"]
        assert paths_of(library, unknown=True, sort=sort) == []


AREAS: dict[str, dict[str, object]] = {
    "near": {"near": (48.8584, 2.2945), "radius_km": 50.0},
    "near by position and landmark": {"near": (48.8584, 2.2945), "radius_km": 1.0, "any_rank": True},
    "unknown near": {"near": (48.8584, 2.2945), "radius_km": 50.0, "unknown": True},
    "country": {"country": "France"},
    "country of positions alone": {"country": "Andorra"},
    "near in a country": {
        "near": (48.8584, 2.2945),
        "radius_km": 500.0,
        "country": "France",
        "position": "camera",
    },
}
QUERIES: dict[str, dict[str, object]] = {
    "tagged": {},
    "any rank": {"any_rank": True},
    "unknown": {"unknown": True},
    "untagged": {"untagged": True},
    "landmark": {"landmark": EIFFEL},
    "score": {"min_score": 0.8},
    "dates": {"taken_after": datetime(2026, 1, 3), "taken_before": datetime(2026, 2, 1)},
    "model": {"model": "tiny"},
    "all together": {"country": "France", "min_score": 0.5, "taken_after": datetime(2026, 1, 2)},
    **AREAS,
}


@pytest.fixture(scope="module")
def paged_library(shared_database, tmp_path_factory) -> StoredPhotos:
    return stored_photos(shared_database, tmp_path_factory.mktemp("library"))


@pytest.fixture
def own_library(database, tmp_path) -> StoredPhotos:
    return stored_photos(database, tmp_path)


def stored_photos(database: Database, folder: Path) -> StoredPhotos:
    """28 photos, some of them copies, some with names that are not UTF-8, and some with positions, several at the same one."""
    library = StoredPhotos.with_tiny_model(database, folder)
    slugs = (EIFFEL, GATE, VERSAILLES)
    for n in range(28):
        tags = [(slugs[n % 3], 0.6 + n / 100, n % 4 > 0), (slugs[(n + 1) % 3], 0.55, n % 5 == 0)]
        name: str | bytes = b"a/odd-\xff%d.jpg" % n if n % 10 == 0 else f"a/{n:02}.jpg"
        taken_at = datetime(2026, 1, 1) + timedelta(days=n // 2) if n % 7 else None
        library.photo(name, *tags, digest=f"picture {n // 2 * 2}", classified=n % 11 > 0, taken_at=taken_at)
    library.verdict("picture 4", EIFFEL, "confirmed")
    library.verdict("picture 14", VERSAILLES, "rejected")
    for n in (1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13, 21, 22, 25):
        latitude, longitude, country = (
            (48.86, 2.29, "France"),
            (48.86, 2.3, "France"),
            (42.5, 1.5, "Andorra"),
        )[n % 3]
        library.position(f"a/{n:02}.jpg", latitude, longitude, country, "camera" if n % 2 else "neighbour")
    return library


def in_short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the pages of results and the pages of scans overlap."""
    monkeypatch.setattr(find, "LARGEST_PAGE", 5)


def in_pages(database: Database, query: PhotoQuery, limit: int) -> list[int]:
    """The ids of all photos, read page by page with the cursor of the previous page."""
    numbers: list[int] = []
    cursor: str | None = None
    while True:
        after = decode_cursor(cursor, query) if cursor else None
        page = find_tagged_page(database, query, None, after, limit)
        assert len(page.photos) <= limit
        numbers += [photo.id for photo in page.photos]
        if page.next is None:
            return numbers
        cursor = encode_cursor(page.next, query)


@st.composite
def random_queries(draw: st.DrawFn) -> PhotoQuery:
    chosen = draw(
        st.lists(st.sampled_from([*QUERIES.values(), {"position": "none"}, {"year": (2026,)}]), max_size=2)
    )
    options: dict[str, object] = {"sort": draw(st.sampled_from([None, *get_args(SortOption)]))}
    options |= {"distinct": draw(st.booleans()), "limit": draw(st.sampled_from([None, 1, 4, 9]))}
    for each in chosen:
        options |= each
    try:
        return PhotoQuery(**options)
    except QueryOptionInvalid:
        return PhotoQuery(sort=options["sort"])


@pytest.mark.postgresql
@given(random_queries(), st.sampled_from([1, 3, 10]), st.sampled_from([1, 2, 20]))
def test_a_result_is_the_same_if_it_is_sorted_at_once(paged_library, query, candidates, share):
    few = [photo.id for photo in find_tagged(paged_library.database, query)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(find, "PAGE", 2)
        in_short_pages(patch)
        patch.setattr(sorted_scan, "FEWEST_TO_WALK", 0)
        patch.setattr(sorted_scan, "MOST_CANDIDATES", candidates)
        patch.setattr(filters, "FEW", 0)
        patch.setattr(filters, "SHARE_TO_READ_ALL", share)
        many = [photo.id for photo in find_tagged(paged_library.database, query)]
        pages = in_pages(paged_library.database, query, 3)
    assert many == few
    assert pages[: query.limit] == few


@pytest.mark.postgresql
def test_each_filter_with_an_index_finds_all_photos_of_an_area(paged_library, monkeypatch):
    wide = {"under": (paged_library.root,), "taken_after": datetime(2000, 1, 1), "model": "tiny"}
    for name, options in AREAS.items():
        query = PhotoQuery(**options | wide)
        found = set()
        with paged_library.database.read() as connection:
            resolved = ResolvedQuery.resolve(connection, query, {})
        for each in (each.found for each in resolved.filters if each.found):
            monkeypatch.setattr(ResolvedQuery, "narrowest", lambda *_, each=each: (each, True))
            found.add(tuple(sorted(photo.id for photo in find_tagged(paged_library.database, query))))
        assert len(found) == 1, name
        assert found != {()}, name


def test_photos_added_between_two_pages_repeat_no_photo(own_library):
    query = PhotoQuery(any_rank=True)
    first = find_tagged_page(own_library.database, query, None, None, 5)
    for n in range(10):
        own_library.photo(f"later/{n}.jpg", (EIFFEL, 0.9, True))
    following = find_tagged_page(own_library.database, query, None, first.next, 1000)
    numbers = [photo.id for photo in (*first.photos, *following.photos)]
    assert len(set(numbers)) == len(numbers)
    assert {photo.id for photo in find_tagged(own_library.database, query)} == set(numbers)


def test_page_ends_before_it_is_full_if_few_rows_match(paged_library, monkeypatch):
    query = PhotoQuery(distinct=True)
    whole = [photo.id for photo in find_tagged(paged_library.database, query)]
    for setting in ("LARGEST_PAGE", "MOST_PAGES"):
        monkeypatch.setattr(find, setting, 2)
    page = find_tagged_page(paged_library.database, query, None, None, 1000)
    assert page.next is not None
    assert len(page.photos) < len(whole)
    assert in_pages(paged_library.database, query, 1000) == whole


def test_cursors_and_positions_of_other_queries_are_refused(paged_library):
    query = PhotoQuery(any_rank=True)
    page = find_tagged_page(paged_library.database, query, None, None, 5)
    assert page.next is not None
    with pytest.raises(CursorInvalid, match="Request the first page again"):
        decode_cursor(encode_cursor(page.next, query), PhotoQuery())
    query = PhotoQuery()
    for position in (
        ScanPosition(9, None),
        ScanPosition(0, ()),
        ScanPosition(0, ("a",)),
        ScanPosition(0, (True,)),
        ScanPosition(0, (-1,)),
        ScanPosition(0, (2**70,)),
        ScanPosition(0, (1, 2)),
        ScanPosition(0, (datetime(2026, 1, 1),)),
    ):
        cursor = encode_cursor(position, query)
        with pytest.raises(CursorInvalid):
            find_tagged_page(paged_library.database, query, None, decode_cursor(cursor, query), 10)


@given(
    st.one_of(
        st.text(max_size=60), st.binary(max_size=60).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
    )
)
def test_invalid_cursor_is_refused(text):
    with pytest.raises(CursorInvalid):
        decode_cursor(text, PhotoQuery())


def test_lone_surrogate_and_nul_never_reach_the_database():
    mark = json.loads(base64.urlsafe_b64decode(encode_cursor(ScanPosition(0, None), PhotoQuery()) + "=="))[0]
    for text in ("\ud800", "a\0b"):
        cursor = base64.urlsafe_b64encode(json.dumps([mark, 0, [1, text, {"bytes": ""}]]).encode()).decode()
        with pytest.raises(CursorInvalid):
            decode_cursor(cursor.rstrip("="), PhotoQuery())
