"""Each filter of a query, on both databases; verdicts; odd names; pages."""
# ruff: noqa: DTZ001 - cameras know no time zone

import os
from datetime import datetime
from pathlib import Path

import pytest
from artifacts import tiny_artifact
from known import KnownPhotos
from sqlalchemy import insert

from tagger.database import Database
from tagger.errors import CountryNotFound, LandmarkAmbiguous, LandmarkNotFound, ModelNotFound, PhotoNotKnown
from tagger.query import Near, PhotoQuery, find, find_tagged
from tagger.query.details import landmark_counts, photo_details
from tagger.registry import add_model
from tagger.tables import landmarks

EIFFEL, GATE, VERSAILLES = "eiffel-tower", "brandenburg-gate", "chateau-de-versailles"


@pytest.fixture
def known(database: Database, tmp_path: Path) -> KnownPhotos:
    tiny_artifact(tmp_path / "tiny.pt")
    return KnownPhotos(database, tmp_path / "photos", add_model(database, tmp_path / "tiny.pt"))


def asked(known: KnownPhotos, **options: object) -> list[str]:
    """The paths below the root that a query finds, sorted; each is found once."""
    found = [photo.path for photo in find_tagged(known.database, PhotoQuery(**options))]  # type: ignore[arg-type]
    assert len(set(found)) == len(found)
    return sorted(os.path.relpath(path, known.root) for path in found)


def test_a_query_gives_photos_with_accepted_tags_and_only_those_tags(known: KnownPhotos) -> None:
    path = known.photo("a.jpg", (EIFFEL, 0.9, True), (GATE, 0.05, False), taken_at=datetime(2026, 1, 2, 3, 4))
    known.photo("nothing.jpg", (EIFFEL, 0.2, False))
    (photo,) = find_tagged(known.database, PhotoQuery())
    assert photo.path == path
    assert (photo.outcome, photo.digest, photo.width, photo.height) == ("tagged", "digest of a.jpg", 640, 480)
    assert photo.taken_at == datetime(2026, 1, 2, 3, 4)
    (tag,) = photo.tags
    assert (tag.landmark, tag.name, tag.label) == (EIFFEL, "Eiffel Tower", "00.Eiffel_Tower")
    assert (tag.score, tag.rank, tag.accepted, tag.verdict) == (0.9, 1, True, None)
    assert (tag.country, tag.latitude, tag.longitude, tag.model) == ("France", 48.8584, 2.2945, "tiny")


def test_any_rank_gives_every_photo_looked_at_with_its_whole_top_k(known: KnownPhotos) -> None:
    known.photo("a.jpg", (EIFFEL, 0.9, True), (GATE, 0.05, False))
    known.photo("nothing.jpg", (EIFFEL, 0.2, False), (GATE, 0.1, False))
    known.photo("new.jpg", looked=False)
    found = {Path(photo.path).name: photo for photo in find_tagged(known.database, PhotoQuery(any_rank=True))}
    assert {name: photo.outcome for name, photo in found.items()} == {
        "a.jpg": "tagged",
        "nothing.jpg": "unknown",
    }
    assert [tag.rank for tag in found["nothing.jpg"].tags] == [1, 2]
    assert asked(known, any_rank=True, landmark=GATE) == ["a.jpg", "nothing.jpg"]
    assert asked(known, any_rank=True, landmark=VERSAILLES) == []
    assert asked(known, any_rank=True, min_score=0.5) == ["a.jpg"]


@pytest.mark.parametrize("typed", ["eiffel-tower", "Eiffel Tower", "EIFFEL_TOWER", "eiffel tower"])
def test_a_landmark_is_found_by_slug_or_name_in_any_case(known: KnownPhotos, typed: str) -> None:
    known.photo("a.jpg", (EIFFEL, 0.9, True))
    known.photo("b.jpg", (GATE, 0.9, True), (EIFFEL, 0.1, False))
    assert asked(known, landmark=typed) == ["a.jpg"]


def test_case_is_folded_beyond_ascii(known: KnownPhotos) -> None:
    known.photo("a.jpg", (VERSAILLES, 0.9, True))
    assert asked(known, landmark="CHÂTEAU DE VERSAILLES") == ["a.jpg"]
    assert asked(known, landmark="cha\N{COMBINING CIRCUMFLEX ACCENT}teau de versailles") == ["a.jpg"]


def test_a_wrong_name_is_said_at_once_with_what_is_close(known: KnownPhotos) -> None:
    with pytest.raises(LandmarkNotFound, match="Did you mean eiffel-tower"):
        find_tagged(known.database, PhotoQuery(landmark="Eifel Tower"))
    with pytest.raises(CountryNotFound, match="Did you mean France"):
        find_tagged(known.database, PhotoQuery(country="Frence"))
    with pytest.raises(ModelNotFound, match="tiny"):
        find_tagged(known.database, PhotoQuery(model="other"))


def test_a_name_that_two_landmarks_share_is_not_guessed(known: KnownPhotos) -> None:
    with known.database.write() as connection:
        connection.execute(insert(landmarks).values(slug="eiffel-tower-las-vegas", name="Eiffel Tower"))
    with pytest.raises(LandmarkAmbiguous, match="eiffel-tower, eiffel-tower-las-vegas"):
        find_tagged(known.database, PhotoQuery(landmark="eiffel Tower"))


def test_country_in_any_case_gives_a_photo_with_two_of_its_landmarks_once(known: KnownPhotos) -> None:
    known.photo("both.jpg", (EIFFEL, 0.5, True), (VERSAILLES, 0.5, True))
    known.photo("gate.jpg", (GATE, 0.9, True))
    assert asked(known, country="FRANCE") == ["both.jpg"]
    (photo,) = find_tagged(known.database, PhotoQuery(country="france"))
    assert [tag.landmark for tag in photo.tags] == [EIFFEL, VERSAILLES]


def test_near_is_measured_along_the_ground(known: KnownPhotos) -> None:
    known.photo("eiffel.jpg", (EIFFEL, 0.9, True))
    known.photo("versailles.jpg", (VERSAILLES, 0.9, True))  # 14 km from the Eiffel Tower
    known.photo("gate.jpg", (GATE, 0.9, True))
    known.photo("hill.jpg", ("nameless-hill", 0.9, True))  # nobody knows where it is
    assert asked(known, near=Near(48.8584, 2.2945, 10.0)) == ["eiffel.jpg"]
    assert asked(known, near=Near(48.8584, 2.2945, 15.0)) == ["eiffel.jpg", "versailles.jpg"]
    assert asked(known, near=Near(48.8584, 2.2945 - 360, 15.0)) == ["eiffel.jpg", "versailles.jpg"]
    assert asked(known, near=Near(-48.0, 2.0, 10.0)) == []
    assert asked(known, near=Near(48.8584, 2.2945, 15.0), landmark=VERSAILLES) == ["versailles.jpg"]


def test_min_score_does_not_hide_what_a_person_confirmed(known: KnownPhotos) -> None:
    known.photo("sure.jpg", (EIFFEL, 0.95, True))
    known.photo("unsure.jpg", (EIFFEL, 0.6, True))
    known.photo("confirmed.jpg", (EIFFEL, 0.1, False), digest="c")
    known.verdict("c", EIFFEL, "confirmed")
    assert asked(known, min_score=0.9) == ["confirmed.jpg", "sure.jpg"]
    for narrower in (
        {"landmark": EIFFEL},
        {"under": (known.root,)},
        {"country": "France"},
        {"any_rank": True},
    ):
        assert asked(known, min_score=0.9, **narrower) == ["confirmed.jpg", "sure.jpg"]


def test_under_means_the_folder_and_not_one_whose_name_begins_alike(known: KnownPhotos) -> None:
    for path in ("italy/a.jpg", "italy/rome/b.jpg", "italy2/c.jpg", "italy.jpg", "top.jpg"):
        known.photo(path, (EIFFEL, 0.9, True))
    assert asked(known, under=(known.root / "italy",)) == ["italy/a.jpg", "italy/rome/b.jpg"]
    assert asked(known, under=(known.root / "italy" / ".." / "italy" / "rome",)) == ["italy/rome/b.jpg"]
    assert asked(known, under=(known.root / "top.jpg",)) == ["top.jpg"]
    assert len(asked(known, under=(known.root,))) == 5
    assert len(asked(known, under=(known.root.parent,))) == 5
    assert asked(known, under=(known.root.parent / "elsewhere",)) == []
    overlapping = (known.root / "italy", known.root / "italy" / "rome", known.root / "italy2")
    assert asked(known, under=overlapping) == ["italy/a.jpg", "italy/rome/b.jpg", "italy2/c.jpg"]
    assert len(asked(known, under=(known.root / "italy", known.root))) == 5


def test_settings_say_where_a_root_is_on_this_machine(known: KnownPhotos) -> None:
    known.photo("italy/a.jpg", (EIFFEL, 0.9, True))
    mounted = {"photos": Path("/mnt/library")}
    found = list(find_tagged(known.database, PhotoQuery(under=(Path("/mnt/library/italy"),)), mounted))
    assert [photo.path for photo in found] == ["/mnt/library/italy/a.jpg"]


def test_taken_after_is_inclusive_and_taken_before_is_not(known: KnownPhotos) -> None:
    for day in (1, 2, 3):
        known.photo(f"{day}.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2026, 5, day))
    known.photo("no date.jpg", (EIFFEL, 0.9, True))
    assert asked(known, taken_after=datetime(2026, 5, 2)) == ["2.jpg", "3.jpg"]
    assert asked(known, taken_before=datetime(2026, 5, 2)) == ["1.jpg"]
    both = {"taken_after": datetime(2026, 5, 2), "taken_before": datetime(2026, 5, 3)}
    assert asked(known, **both) == ["2.jpg"]
    assert asked(known, landmark=EIFFEL, **both) == ["2.jpg"]
    assert asked(known, landmark=GATE, **both) == []


def test_model_means_the_one_that_looked_last(known: KnownPhotos, tmp_path: Path) -> None:
    tiny_artifact(tmp_path / "other.pt", seed=1, name="other")
    other = add_model(known.database, tmp_path / "other.pt")
    known.photo("tiny.jpg", (EIFFEL, 0.9, True))
    known.photo("other.jpg", (EIFFEL, 0.9, True), model=other)
    assert asked(known, model="other") == ["other.jpg"]
    assert asked(known, model="tiny", landmark=EIFFEL) == ["tiny.jpg"]


def test_unknown_is_looked_at_with_nothing_accepted_after_verdicts(known: KnownPhotos) -> None:
    known.photo("tagged.jpg", (EIFFEL, 0.9, True))
    known.photo("unknown.jpg", (EIFFEL, 0.2, False))
    known.photo("rejected.jpg", (EIFFEL, 0.9, True), digest="r")
    known.photo("confirmed.jpg", (EIFFEL, 0.2, False), digest="c")
    known.photo("new.jpg", looked=False)
    known.verdict("r", EIFFEL, "rejected")
    known.verdict("c", EIFFEL, "confirmed")
    assert asked(known, unknown=True) == ["rejected.jpg", "unknown.jpg"]
    found = list(find_tagged(known.database, PhotoQuery(unknown=True)))
    assert {photo.outcome for photo in found} == {"unknown"}
    assert [photo.tags for photo in found] == [(), ()]
    assert all(photo.tags for photo in find_tagged(known.database, PhotoQuery(unknown=True, any_rank=True)))


def test_untagged_is_what_no_model_has_looked_at_and_has_not_failed(known: KnownPhotos) -> None:
    known.photo("looked.jpg", (EIFFEL, 0.2, False))
    known.photo("new.jpg", looked=False)
    known.photo("sub/new.jpg", looked=False)
    known.photo("broken.jpg", looked=False, failure_kind="truncated", failure_text="ends early")
    assert asked(known, untagged=True) == ["new.jpg", "sub/new.jpg"]
    assert asked(known, untagged=True, under=(known.root / "sub",)) == ["sub/new.jpg"]
    assert [photo.outcome for photo in find_tagged(known.database, PhotoQuery(untagged=True, limit=1))] == [
        None
    ]


def test_a_rejected_tag_stays_away_and_a_confirmed_one_is_always_there(known: KnownPhotos) -> None:
    known.photo("rejected.jpg", (EIFFEL, 0.9, True), (GATE, 0.05, False), digest="r")
    known.photo("confirmed.jpg", (GATE, 0.3, False), digest="c")
    known.photo("seen by a person only.jpg", (GATE, 0.3, False), digest="p")
    known.verdict("r", EIFFEL, "rejected")
    known.verdict("c", GATE, "confirmed")
    known.verdict("p", VERSAILLES, "confirmed")
    assert asked(known) == ["confirmed.jpg", "seen by a person only.jpg"]
    assert asked(known, landmark=EIFFEL) == []
    assert asked(known, landmark=EIFFEL, any_rank=True) == []
    assert asked(known, landmark=GATE) == ["confirmed.jpg"]
    assert asked(known, country="France") == ["seen by a person only.jpg"]
    (photo,) = find_tagged(known.database, PhotoQuery(landmark=VERSAILLES))
    (tag,) = photo.tags
    assert photo.outcome == "tagged"
    assert (tag.rank, tag.score, tag.model, tag.label) == (None, None, None, None)
    assert (tag.accepted, tag.verdict) == (True, "confirmed")


def test_a_verdict_holds_for_every_copy(known: KnownPhotos) -> None:
    known.photo("one.jpg", (EIFFEL, 0.9, True), digest="same")
    known.photo("two.jpg", digest="same")
    assert asked(known, landmark=EIFFEL) == ["one.jpg", "two.jpg"]
    known.verdict("same", EIFFEL, "rejected")
    assert asked(known, landmark=EIFFEL) == []


def test_photos_whose_file_is_gone_are_left_out(known: KnownPhotos) -> None:
    known.photo("here.jpg", (EIFFEL, 0.9, True))
    known.photo("gone.jpg", (EIFFEL, 0.9, True))
    known.photo("gone too.jpg", looked=False)
    known.gone("gone.jpg")
    known.gone("gone too.jpg")
    assert asked(known) == ["here.jpg"]
    assert asked(known, untagged=True) == []
    assert [(count.landmark, count.photos) for count in landmark_counts(known.database)] == [(EIFFEL, 1)]


def test_odd_names_come_back_byte_for_byte(known: KnownPhotos) -> None:
    names = [b"caf\xe9/a.jpg", b"line\nbreak.jpg", "naïve 写真.jpg".encode(), b"tab\t.jpg"]
    for name in names:
        known.photo(name, (EIFFEL, 0.9, True))
    found = [os.fsencode(photo.path) for photo in find_tagged(known.database, PhotoQuery())]
    assert sorted(found) == sorted(os.fsencode(known.root) + b"/" + name for name in names)
    assert asked(known, under=(known.root / os.fsdecode(b"caf\xe9"),)) == [os.fsdecode(b"caf\xe9/a.jpg")]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"landmark": EIFFEL},
        {"any_rank": True},
        {"under": True},
        {"taken_after": datetime(2020, 1, 1)},
        {"model": "tiny"},
        {"unknown": True},
        {"untagged": True},
    ],
    ids=str,
)
def test_pages_lose_and_repeat_nothing(
    known: KnownPhotos, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(25):
        taken_at = datetime(2026, 1, 1 + number // 5)
        known.photo(f"t{number:02}.jpg", (EIFFEL, 0.9, True), digest=f"t{number // 2}", taken_at=taken_at)
        known.photo(f"u{number:02}.jpg", (EIFFEL, 0.2, False))
        known.photo(f"n{number:02}.jpg", looked=False)
    wanted = {"unknown": "u", "untagged": "n"}
    letter = next((wanted[name] for name in options if name in wanted), "t")
    expected = [f"{letter}{number:02}.jpg" for number in range(25)]
    if options == {"any_rank": True}:
        expected += [f"u{number:02}.jpg" for number in range(25)]
    monkeypatch.setattr(find, "PAGE", 4)
    asks = {name: (known.root,) if name == "under" else value for name, value in options.items()}
    assert asked(known, **asks) == expected
    assert len(list(find_tagged(known.database, PhotoQuery(**asks, limit=7)))) == 7  # type: ignore[arg-type]


def test_a_narrow_filter_beside_a_wide_one_gives_the_same_photos(
    known: KnownPhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        known.photo(f"wide/{number:02}.jpg", (EIFFEL, 0.9, True))
    known.photo("narrow/a.jpg", (EIFFEL, 0.9, True))
    known.photo("narrow/b.jpg", (GATE, 0.9, True))
    for caps in ((1,), (1, 5000), (5000,)):
        monkeypatch.setattr(find, "WALK_SIZE_CAPS", caps)
        assert asked(known, landmark=EIFFEL, under=(known.root / "narrow",)) == ["narrow/a.jpg"]
        assert asked(known, landmark=GATE, under=(known.root,)) == ["narrow/b.jpg"]


def test_a_reader_that_stops_early_holds_no_connection(known: KnownPhotos) -> None:
    for number in range(3):
        known.photo(f"{number}.jpg", (EIFFEL, 0.9, True))
    found = find_tagged(known.database, PhotoQuery())
    next(found)
    known.photo("while reading.jpg", (EIFFEL, 0.9, True))
    assert len(list(found)) == 2


def test_landmarks_are_counted_by_photos_after_verdicts(known: KnownPhotos) -> None:
    known.photo("one.jpg", (EIFFEL, 0.9, True), digest="same")
    known.photo("two.jpg", digest="same")
    known.photo("three.jpg", (EIFFEL, 0.9, True), digest="r")
    known.photo("four.jpg", (GATE, 0.9, True), digest="c")
    known.photo("five.jpg", (GATE, 0.1, False), digest="p")
    known.verdict("r", EIFFEL, "rejected")
    known.verdict("c", GATE, "confirmed")
    known.verdict("p", VERSAILLES, "confirmed")
    counts = {count.landmark: count.photos for count in landmark_counts(known.database)}
    assert counts == {EIFFEL: 2, GATE: 1, VERSAILLES: 1}
    french = [count.landmark for count in landmark_counts(known.database, "france")]
    assert french == [EIFFEL, VERSAILLES]
    known_ones = {count.landmark: count.photos for count in landmark_counts(known.database, all_known=True)}
    assert known_ones["nameless-hill"] == 0


def test_details_tell_all_that_is_known_of_a_photo(known: KnownPhotos) -> None:
    path = known.photo("a.jpg", (EIFFEL, 0.9, True), (GATE, 0.05, False), digest="same")
    copy = known.photo("copy.jpg", digest="same")
    known.verdict("same", EIFFEL, "confirmed")
    details = photo_details(known.database, Path(path))
    assert [tag.landmark for tag in details.photo.tags] == [EIFFEL, GATE]
    assert details.copies == (copy,)
    assert [(given.landmark, given.verdict, given.given_by) for given in details.verdicts] == [
        (EIFFEL, "confirmed", "ada")
    ]
    assert (details.model, details.top_k, details.threshold) == ("tiny", 5, 0.5)
    assert details.job is None
    assert details.failure is None


def test_details_of_a_photo_that_fails_say_why(known: KnownPhotos) -> None:
    path = known.photo(b"caf\xe9.jpg", looked=False, failure_kind="truncated", failure_text="ends early")
    details = photo_details(known.database, Path(path))
    assert details.photo.outcome == "failed"
    assert details.failure is not None
    assert (details.failure.kind, details.failure.text) == ("truncated", "ends early")
    with pytest.raises(PhotoNotKnown):
        photo_details(known.database, known.root / "other.jpg")
