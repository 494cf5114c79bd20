"""Shares on both databases: which photos they have, as tags and verdicts change, and when they end."""

import threading
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select, update
from support.stored_photos import StoredPhotos
from support.threads import in_threads

from tagger.database.actors import Actor
from tagger.database.audit_log import AuditFilter, list_entries
from tagger.database.connection import Database
from tagger.database.enums import Role, VerdictKind
from tagger.database.tables import access_tokens, landmarks, photos, share_photos, shares
from tagger.errors import LandmarkNotFound, PhotoIdNotFound, ShareInvalid
from tagger.landmarks.edits import NewLandmark, add_landmark
from tagger.landmarks.removal import remove_landmark
from tagger.people.sessions import adopt_settings_token
from tagger.people.tokens import SETTINGS_TOKEN, AccessEnded, add_token, list_tokens, revoke_token
from tagger.people.users import add_user, remove_user, set_role
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.query.timeline import timeline_sections
from tagger.roots.roots import forget_path
from tagger.shared_photos import SharedPhotos
from tagger.shares import (
    KEPT_DAYS,
    NewShare,
    Share,
    ShareState,
    add_share,
    find_share,
    list_shares,
    revoke_share,
)
from tagger.verdicts.service import give_verdicts

EIFFEL, GATE = "eiffel-tower", "brandenburg-gate"
TOMORROW = timedelta(days=1)


@pytest.fixture
def library(database: Database, tmp_path: Path) -> StoredPhotos:
    library = StoredPhotos.with_tiny_model(database, tmp_path)
    library.photo("paris.jpg", (EIFFEL, 0.99, True))
    library.photo("both.jpg", (EIFFEL, 0.8, True), (GATE, 0.2, False))
    library.photo("berlin.jpg", (GATE, 0.9, True))
    library.photo("new.jpg", classified=False)
    return library


def ids(library: StoredPhotos) -> dict[str, int]:
    with library.database.read() as connection:
        return {row.path: row.id for row in connection.execute(select(photos.c.path, photos.c.id))}


def shared(database: Database, photos_: PhotoQuery | list[int], **more: bool) -> tuple[Share, str]:
    return add_share(database, NewShare(photos_, "Ours", datetime.now(UTC) + TOMORROW, **more), {})


def visible(library: StoredPhotos, share: Share) -> set[str]:
    """The photos of the share, by the result of its query and photo by photo, which must agree."""
    members = SharedPhotos(library.database, {}, partial(timeline_sections, library.database))
    found = {Path(photo.path).name for photo in find_tagged(library.database, share.query)}
    assert found == {name for name, number in ids(library).items() if members.contains(share, number)}
    assert sum(each.photos for each in members.sections(share)) == len(found)
    return found


def test_the_shares_of_a_person_end_with_the_right_to_share(library: StoredPhotos) -> None:
    database = library.database
    made = {}
    for name in ("ada", "bob", "eve"):
        add_user(database, name, Role.EDITOR, "a long passphrase of ours")
        acting = database.acting_as(Actor(f"web {name}", is_person=True))
        made[name] = shared(acting, PhotoQuery(landmark=EIFFEL))[0].id
    assert set_role(database, "ada", Role.ADMIN).shares == []
    assert remove_user(database, "ada").shares == [made["ada"]]
    assert set_role(database, "bob", Role.VIEWER).shares == [made["bob"]]
    assert remove_user(database, "eve", keep_shares=True).shares == []
    active = [each.id for each in list_shares(database) if each.state is ShareState.ACTIVE]
    assert active == [made["eve"]]
    entries = list_entries(database, AuditFilter(), 20)
    removals = [entry for entry in entries if entry.action == "user-remove"]
    assert [entry.details["shares"] for entry in removals] == [[], [made["ada"]]]
    assert {e.details["share"] for e in entries if e.action == "share-revoke"} == {made["ada"], made["bob"]}


def shared_by(database: Database, name: str) -> tuple[int, str]:
    """A share that this person or token makes on the page: its id and the token of its link."""
    share, token = shared(database.acting_as(Actor(f"web {name}")), PhotoQuery(landmark=EIFFEL))
    return share.id, token


def state_of(database: Database, link: str) -> ShareState:
    share = find_share(database, link)
    assert share is not None
    assert share in list_shares(database)
    return share.state


@pytest.mark.postgresql
def test_revoking_a_token_revokes_its_shares(library: StoredPhotos) -> None:
    database = library.database
    for name in ("phone", "tablet", "phone.2"):
        add_token(database, name)
    share, link = shared_by(database, "phone")
    others = [shared_by(database, "phone.2")[1], shared_by(database, "tablet")[1]]
    assert revoke_token(database, "phone").shares == [share]
    assert state_of(database, link) is ShareState.REVOKED
    assert revoke_token(database, "tablet", keep_shares=True).shares == []
    assert [state_of(database, other) for other in others] == [ShareState.ACTIVE] * 2
    (revoked,) = [e for e in list_entries(database, AuditFilter(), 20) if e.action == "share-revoke"]
    assert revoked.details["share"] == share


@pytest.mark.postgresql
@pytest.mark.parametrize("end", ["revoked token", "removed person", "person made a viewer"])
def test_no_share_is_made_while_and_after_access_is_taken_away(library: StoredPhotos, end: str) -> None:
    database = library.database
    is_person = end != "revoked token"
    made_by = add_user(database, "ada", Role.EDITOR, None) if is_person else add_token(database, "ada")[0]
    acting = database.acting_as(Actor("web ada", is_person=is_person, access_id=made_by.id))
    begun = threading.Barrier(4)

    def share() -> None:
        shared(acting, PhotoQuery(landmark=EIFFEL))
        begun.wait(30)
        with suppress(AccessEnded):
            while True:
                shared(acting, PhotoQuery(landmark=EIFFEL))

    def take_away() -> None:
        begun.wait(30)
        if end == "revoked token":
            revoke_token(database, "ada")
        elif end == "removed person":
            remove_user(database, "ada")
        else:
            set_role(database, "ada", Role.VIEWER)

    in_threads([share, share, share, take_away])
    assert {each.state for each in list_shares(database)} == {ShareState.REVOKED}


@pytest.mark.postgresql
def test_shares_end_with_the_token_that_made_them(library: StoredPhotos) -> None:
    database = library.database
    soon = datetime.now(UTC) + timedelta(hours=1)
    add_token(database, "guest", expires_at=soon)
    _, link = shared_by(database, "guest")
    assert [each.expires_at for each in list_shares(database)] == [soon]
    with database.write() as connection:
        connection.execute(update(access_tokens).values(expires_at=datetime.now(UTC) - TOMORROW))
    assert state_of(database, link) is ShareState.EXPIRED
    revoke_token(database, "guest", keep_shares=True)
    add_token(database, "guest", expires_at=soon)
    assert state_of(database, link) is ShareState.ACTIVE
    assert [each.expires_at != soon for each in list_shares(database)] == [True]


@pytest.mark.postgresql
def test_another_token_of_the_settings_revokes_the_shares_of_the_former_one(library: StoredPhotos) -> None:
    database = library.database
    share, link = shared_by(database, SETTINGS_TOKEN)
    for _ in range(2):  # that of a first start is not known to be another one
        assert adopt_settings_token(database, "the first token of ours") == []
    assert adopt_settings_token(database, "the second token of ours", keep_shares=True) == []
    assert state_of(database, link) is ShareState.ACTIVE
    assert adopt_settings_token(database, "the third token of ours") == [share]
    assert state_of(database, link) is ShareState.REVOKED
    assert list_tokens(database) == []
    with database.read() as connection:
        stored = str(connection.execute(select(access_tokens)).all())
    assert "token of ours" not in stored


@pytest.mark.postgresql
def test_the_share_of_a_landmark_follows_its_tags(library: StoredPhotos) -> None:
    share, _ = shared(library.database, PhotoQuery(landmark=EIFFEL))
    assert visible(library, share) == {"paris.jpg", "both.jpg"}
    give_verdicts(library.database, [ids(library)["both.jpg"]], EIFFEL, VerdictKind.REJECTED, None, {})
    assert visible(library, share) == {"paris.jpg"}
    give_verdicts(library.database, [ids(library)["berlin.jpg"]], EIFFEL, VerdictKind.CONFIRMED, None, {})
    library.photo("later.jpg", (EIFFEL, 0.7, True))
    assert visible(library, share) == {"paris.jpg", "berlin.jpg", "later.jpg"}


def test_a_selection_stays_as_it_is(library: StoredPhotos) -> None:
    numbers = ids(library)
    share, _ = shared(library.database, [numbers["berlin.jpg"], numbers["new.jpg"], numbers["berlin.jpg"]])
    assert (share.photos, share.options) == (2, None)
    library.photo("later.jpg", (GATE, 0.7, True))
    assert visible(library, share) == {"berlin.jpg", "new.jpg"}
    forget_path(library.database, library.root / "new.jpg", {})
    assert visible(library, share) == {"berlin.jpg"}
    assert list_shares(library.database)[0].photos == 1


def test_a_photo_whose_file_is_gone_disappears(library: StoredPhotos) -> None:
    share, _ = shared(library.database, [ids(library)["paris.jpg"]])
    with library.database.write() as connection:
        connection.execute(update(photos).values(gone_since=datetime.now(UTC)))
    assert visible(library, share) == set()


def test_a_link_is_known_by_its_hash_alone(library: StoredPhotos) -> None:
    share, token = shared(library.database, PhotoQuery(landmark=EIFFEL))
    other, other_token = shared(library.database, PhotoQuery(landmark=GATE))
    assert find_share(library.database, token) == share
    assert find_share(library.database, other_token) == other
    with library.database.read() as connection:
        stored = [str(value) for row in connection.execute(select(shares)) for value in row]
    assert not any(token in value for value in stored)
    for wrong in ("", token[:-1], token + "x", token.swapcase(), "\ud800" * 43, "0" * 43, stored[1][:43]):
        assert find_share(library.database, wrong) is None


def test_a_share_ends_when_it_expires_or_is_revoked(library: StoredPhotos) -> None:
    share, token = shared(library.database, PhotoQuery(landmark=EIFFEL))
    assert share.state is ShareState.ACTIVE
    revoked = revoke_share(library.database, share.id)
    assert revoked.state is ShareState.REVOKED
    assert revoke_share(library.database, share.id) == revoked
    assert find_share(library.database, token) == revoked
    expired, token = shared(library.database, PhotoQuery(landmark=EIFFEL))
    with library.database.write() as connection:
        past = datetime.now(UTC) - TOMORROW
        connection.execute(update(shares).where(shares.c.id == expired.id).values(expires_at=past))
    assert state_of(library.database, token) is ShareState.EXPIRED


def test_shares_that_ended_long_ago_are_removed_with_the_next(library: StoredPhotos) -> None:
    old, _ = shared(library.database, [ids(library)["paris.jpg"]])
    endless, _ = add_share(library.database, NewShare(PhotoQuery(landmark=EIFFEL), "Ours", None), {})
    with library.database.write() as connection:
        long_ago = datetime.now(UTC) - timedelta(days=KEPT_DAYS + 1)
        connection.execute(update(shares).where(shares.c.id == old.id).values(expires_at=long_ago))
    new, _ = shared(library.database, PhotoQuery(landmark=GATE))
    assert [each.id for each in list_shares(library.database)] == [new.id, endless.id]
    with library.database.read() as connection:
        assert connection.execute(select(share_photos)).all() == []


def test_a_share_of_several_landmarks_countries_and_years_keeps_them(library: StoredPhotos) -> None:
    query = PhotoQuery(landmark=("Eiffel Tower", GATE), country=("France", "Germany"), year=(2024, 2025))
    share, _ = shared(library.database, query)
    assert share.query == replace(query, landmark=(EIFFEL, GATE), by_slug=True, sort="newest", distinct=True)
    either, _ = shared(library.database, PhotoQuery(landmark=(EIFFEL, GATE)))
    assert visible(library, either) == {"paris.jpg", "both.jpg", "berlin.jpg"}


def test_a_share_finds_its_landmark_by_the_slug_alone(library: StoredPhotos) -> None:
    share, _ = shared(library.database, PhotoQuery(landmark="Eiffel Tower"))
    assert visible(library, share) == {"paris.jpg", "both.jpg"}
    with library.database.write() as connection:
        connection.execute(update(landmarks).where(landmarks.c.slug == EIFFEL).values(slug="tower"))
        connection.execute(update(landmarks).where(landmarks.c.slug == GATE).values(name=EIFFEL))
    with pytest.raises(LandmarkNotFound):
        visible(library, share)


def test_removing_a_landmark_revokes_its_shares(library: StoredPhotos) -> None:
    database = library.database
    slug = add_landmark(database, NewLandmark("Our garden")).slug
    share, token = shared(database, PhotoQuery(landmark=slug))
    shared(database, PhotoQuery(landmark=(slug, GATE)))
    other, _ = shared(database, PhotoQuery(landmark=EIFFEL))
    remove_landmark(database, slug)
    assert add_landmark(database, NewLandmark("Our garden")).slug == slug
    assert state_of(database, token) is ShareState.REVOKED
    assert [each.id for each in list_shares(database) if each.state is ShareState.ACTIVE] == [other.id]
    recorded = list_entries(database, AuditFilter(), 10)
    assert recorded[0].action != "share-add"
    assert share.id in [each.details.get("share") for each in recorded if each.action == "share-revoke"]


def test_what_cannot_be_shared_is_refused_and_leaves_nothing(library: StoredPhotos) -> None:
    for photos_, error in (
        ([], ShareInvalid),
        ([999], PhotoIdNotFound),
        (PhotoQuery(landmark="atlantis"), LandmarkNotFound),
    ):
        with pytest.raises(error):
            shared(library.database, photos_)  # type: ignore[arg-type]
    for name, expires_at in (("a\x00b", None), ("", None), ("x" * 201, None), ("a", datetime.now(UTC))):
        with pytest.raises(ShareInvalid):
            add_share(library.database, NewShare(PhotoQuery(landmark=EIFFEL), name, expires_at), {})
    assert list_shares(library.database) == []


def test_the_photos_of_a_job_are_shared_as_a_selection_alone(library: StoredPhotos) -> None:
    for query in (PhotoQuery(job=1), PhotoQuery(job=1, landmark=EIFFEL), PhotoQuery(without="trip=rome")):
        with pytest.raises(ShareInvalid, match="selection"):
            shared(library.database, query)
    assert list_shares(library.database) == []
