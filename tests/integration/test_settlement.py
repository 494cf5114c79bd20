"""After any history of causes, the stored tags are what the rule says of them, and every reader agrees."""

import io
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from PIL import Image
from sqlalchemy import make_url, select, true, update
from support.artifacts import colour_of, tiny_artifact
from support.camera_photos import NOON, gps_tags
from support.colour_folders import EIFFEL, GATE, TaggedFolder
from support.databases import read_scalars
from support.examples import examples
from support.teaching import teachable_artifact

from tagger.database import VerdictKind
from tagger.database.connection import Database, open_database
from tagger.database.tables import contents, effective_tags, landmarks, photo_tags, photos
from tagger.errors import TaggerError
from tagger.jobs.processing.metadata_preview import load_photo_tags
from tagger.kept.update import EstimateSettings, locate, update_kept
from tagger.landmarks.edits import NewLandmark, add_landmark, edit_landmark, merge_landmark, remove_landmark
from tagger.query.counts import find_covers, landmark_counts
from tagger.query.details import photo_details_by_id
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.query.tagged_photos import TaggedPhoto
from tagger.registry import add_model, model_by_name, remove_model, use_models
from tagger.roots import forget_path
from tagger.tags import record_photos
from tagger.tags.settlement import unsettled
from tagger.teaching.comparison import TaughtCache, compare_images
from tagger.teaching.learning import learn_landmarks, update_taught
from tagger.transfer import check_database
from tagger.verdicts import NOT_A_LANDMARK, dismiss_photos, give_verdicts, restore_photos, withdraw_verdicts
from tagger.verdicts.importing import import_verdicts, read_entries

CELLS = 8
PARIS, TOKYO = (48.8584, 2.2945), (35.68, 139.77)
CHAPEL, BRIDGE, CHURCH = "chapel", "bridge", "our-church"
LANDMARKS = (EIFFEL, GATE, CHAPEL, BRIDGE, CHURCH)


@dataclass(frozen=True)
class Photo:
    """Of a place, in the colour of a label: little of it is uncertain. `minutes`: after noon."""

    place: int
    label: int
    part: float = 1.0
    minutes: int = 0
    gps: tuple[float, float] | None = None

    def draw(self, path: Path, seed: int) -> None:
        colour = np.array(colour_of(self.label)) / 255 * self.part + 0.5 * (1 - self.part)
        pattern = np.random.default_rng(1000 + self.place).uniform(-0.3, 0.3, (CELLS, CELLS, 3))
        pattern -= pattern.mean(axis=(0, 1))
        noise = np.random.default_rng(seed).normal(0, 0.02, pattern.shape)
        pixels = np.clip((colour + pattern + noise) * 255, 0, 255).astype(np.uint8)
        exif = Image.Exif()
        exif[0x110] = "EOS 5D"
        exif.get_ifd(0x8769)[0x9003] = f"{NOON + timedelta(minutes=self.minutes):%Y:%m:%d %H:%M:%S}"
        if self.gps is not None:
            exif.get_ifd(0x8825).update(gps_tags(*self.gps))
        whole = Image.fromarray(pixels.repeat(10, axis=0).repeat(10, axis=1))
        whole.save(path, quality=95, exif=exif)


PHOTOS = {
    "certain.jpg": Photo(0, 0),
    "certain-too.jpg": Photo(0, 0, minutes=300),
    "likely.jpg": Photo(0, 0, 0.7, 20),
    "near.jpg": Photo(1, 0, 0.6, 600, PARIS),
    "far.jpg": Photo(1, 0, 0.7, 10, TOKYO),
    "gate.jpg": Photo(1, 1, 0.85, 1000),
    "unlikely.jpg": Photo(0, 1, 0.55, 1020),
    "grey.jpg": Photo(1, 1, 0.0, 30, TOKYO),
}
photo_names = st.sampled_from(sorted(PHOTOS))
several_photos = st.lists(photo_names, min_size=1, max_size=4, unique=True)
slugs = st.sampled_from(LANDMARKS)
own_slugs = st.sampled_from((CHAPEL, BRIDGE, CHURCH))
kinds = st.sampled_from(VerdictKind)
places = st.sampled_from((None, PARIS, TOKYO))
thresholds = st.sampled_from((0.3, 0.5, 0.95))


class Library(TaggedFolder):
    """Tagged photos, two of them put away, two models, their landmarks, and one that is taught."""

    def __init__(self, database: Database, folder: Path) -> None:
        folder.mkdir()
        super().__init__(database, folder, partial(teachable_artifact, cells=CELLS))
        for seed, (name, photo) in enumerate(PHOTOS.items()):
            photo.draw(self.folder / name, seed)
        shutil.copyfile(self.folder / "likely.jpg", self.folder / "copy of likely.jpg")
        tiny_artifact(folder / "other.pt", name="other")
        self.other = add_model(database, folder / "other.pt")
        for model in (self.other, self.model):
            self.tag(model=model, reprocess=True)
        self.add("Our church", PARIS)
        for name in ("Chapel", "Bridge"):
            self.add(name, TOKYO)
        for name in ("near.jpg", "far.jpg"):
            self.give(name, CHAPEL, VerdictKind.CONFIRMED)
        update_taught(database, self.model)
        dismiss_photos(database, self.ids(["gate.jpg", "certain-too.jpg"]), "ada")
        self._drawn = folder / "drawn"
        shutil.copytree(self.folder, self._drawn)

    def start_again(self, database: Database) -> None:
        """Go on in a copy of the database, with the photos as they were drawn."""
        self.database = database
        self.other = model_by_name(database, "other")
        url = database._engine.url.render_as_string(hide_password=False)
        self.settings = self.settings.model_copy(update={"database_url": url})
        shutil.rmtree(self.folder)
        shutil.copytree(self._drawn, self.folder)

    def copy(self, name: str, other: str, part: float) -> None:
        """Write this part of a photo, as it was drawn, to the file of another one."""
        data = (self._drawn / name).read_bytes()
        (self.folder / other).write_bytes(data[: int(len(data) * part)])

    def add(self, name: str, position: tuple[float, float] | None) -> None:
        add_landmark(self.database, NewLandmark(name, position=position, extent="point"))

    def remove(self, slug: str) -> None:
        remove_landmark(self.database, slug, with_verdicts=True)

    def give(self, name: str, slug: str, kind: VerdictKind) -> None:
        give_verdicts(self.database, [self.folder / name], slug, kind, "ada", {})

    def ids(self, names: Sequence[str]) -> list[int]:
        query = select(photos.c.id).where(photos.c.path.in_(names)).order_by(photos.c.id)
        return read_scalars(self.database, query)

    def assert_settled(self) -> set[tuple[int, str]]:
        """Stored tags, lists, counts and the view are those of the rule. Returns photos with landmarks."""
        shown = (
            select(photos.c.id, landmarks.c.slug, contents.c.outcome)
            .join(effective_tags, effective_tags.c.content_id == photos.c.content_id)
            .join(landmarks, landmarks.c.id == effective_tags.c.landmark_id)
            .join(contents, contents.c.id == photos.c.content_id)
            .where(effective_tags.c.accepted == true(), photos.c.gone_since.is_(None))
        )
        with self.database.snapshot() as connection:
            assert list(unsettled(connection)) == []
            rows = connection.execute(shown).all()
            in_view = connection.execute(select(photo_tags.c.photo_id, photo_tags.c.landmark)).all()
        accepted = {(row.id, row.slug) for row in rows}
        assert len(accepted) == len(rows)
        assert sorted(map(tuple, in_view)) == sorted(accepted)
        # A verdict on an image that no model has classified gives it no outcome.
        assert {row.outcome for row in rows} <= {"tagged", None}
        counted = Counter(slug for _, slug in accepted)
        assert {count.landmark: count.photos for count in landmark_counts(self.database)} == counted
        assert _tags_of(find_tagged(self.database, PhotoQuery())) == accepted
        return accepted

    def assert_readers_agree(self) -> None:
        """Covers, queries by landmark, details and metadata show the tags that lists show."""
        accepted = self.assert_settled()
        ids = sorted({number for number, _ in accepted})
        found = {slug for _, slug in accepted}
        assert find_covers(self.database).keys() == found
        for slug in found:
            by_landmark = find_tagged(self.database, PhotoQuery(landmark=(slug,)))
            assert [photo.id for photo in by_landmark] == [n for n in ids if (n, slug) in accepted]
        details = [photo_details_by_id(self.database, number).photo for number in ids]
        assert _tags_of(details) == accepted
        written = load_photo_tags(self.database, ids)
        assert {(number, tag.slug) for number in ids for tag in written[number].landmarks} == accepted


def _tags_of(found: Iterable[TaggedPhoto]) -> set[tuple[int, str]]:
    return {(photo.id, tag.landmark) for photo in found for tag in photo.tags if tag.accepted}


class History(RuleBasedStateMachine):
    """What people and jobs do in one library in turn. What is impossible is refused and changes nothing."""

    def __init__(self, library: Library, copy: Callable[[], AbstractContextManager[Database]]) -> None:
        super().__init__()
        self.library = library
        self._open = ExitStack()
        library.start_again(self._open.enter_context(copy()))

    def teardown(self) -> None:
        with self._open:
            self.library.assert_readers_agree()
            assert list(check_database(self.library.database)) == []

    @invariant()
    def everything_is_settled(self) -> None:
        self.library.assert_settled()

    @rule(threshold=thresholds, top_k=st.integers(1, 3), by_other=st.booleans(), reprocess=st.booleans())
    def classify(self, threshold: float, top_k: int, by_other: bool, reprocess: bool) -> None:
        model = self.library.other if by_other else self.library.model
        self.library.tag(threshold=threshold, top_k=top_k, model=model, reprocess=reprocess)

    @rule(names=st.lists(st.sampled_from(["teachable", "other"]), min_size=1, unique=True))
    def use_models(self, names: list[str]) -> None:
        use_models(self.library.database, names)

    @rule()
    def remove_model(self) -> None:
        """It may be in use. Then it is registered again, without its results."""
        library = self.library
        with suppress(TaggerError):
            remove_model(library.database, "other")
            library.other = add_model(library.database, library.other.file)

    @rule(threshold=thresholds, reprocess=st.booleans())
    def classify_with_both(self, threshold: float, reprocess: bool) -> None:
        self.library.tag(threshold=threshold, others=[self.library.other], reprocess=reprocess)

    @rule(name=photo_names, other=photo_names, part=st.sampled_from((0.9, 1.0)), threshold=thresholds)
    def copy_photo(self, name: str, other: str, part: float, threshold: float) -> None:
        """Over another one, whole or cut off. It may have been deleted."""
        self.library.copy(name, other, part)
        self.library.tag(threshold=threshold)

    @rule(name=photo_names)
    def delete_photo(self, name: str) -> None:
        (self.library.folder / name).unlink(missing_ok=True)
        self.library.record()

    @rule(name=photo_names)
    def forget_photo(self, name: str) -> None:
        with suppress(TaggerError):
            forget_path(self.library.database, self.library.folder / name, {})

    @rule(name=photo_names, slug=slugs, kind=kinds)
    def give_verdict(self, name: str, slug: str, kind: VerdictKind) -> None:
        with suppress(TaggerError):
            self.library.give(name, slug, kind)

    @rule(name=st.sampled_from(("near.jpg", "far.jpg")), slug=own_slugs, kind=kinds)
    def withdraw_verdict(self, name: str, slug: str, kind: VerdictKind) -> None:
        with suppress(TaggerError):
            withdraw_verdicts(self.library.database, [self.library.folder / name], slug, kind, {})

    @rule(names=several_photos, slug=slugs, kind=kinds)
    def give_verdict_to_several(self, names: list[str], slug: str, kind: VerdictKind) -> None:
        with suppress(TaggerError):
            give_verdicts(self.library.database, self.library.ids(names), slug, kind, "bob", {})

    @rule(names=several_photos, slug=slugs, kind=kinds)
    def withdraw_verdict_from_several(self, names: list[str], slug: str, kind: VerdictKind) -> None:
        with suppress(TaggerError):
            withdraw_verdicts(self.library.database, self.library.ids(names), slug, kind, {})

    @rule(names=several_photos, is_away=st.booleans())
    def dismiss_or_restore(self, names: list[str], is_away: bool) -> None:
        if is_away:
            dismiss_photos(self.library.database, self.library.ids(names), "ada")
        else:
            restore_photos(self.library.database, self.library.ids(names))

    @rule(name=photo_names, slug=st.none() | slugs, kind=kinds, days=st.sampled_from((-1, 1)))
    def import_verdict(self, name: str, slug: str | None, kind: VerdictKind, days: int) -> None:
        """From before or after those that were given here; also on an image without a photo."""
        query = select(contents.c.digest).join(photos, photos.c.content_id == contents.c.id)
        with self.library.database.read() as connection:
            digest = connection.scalar(query.where(photos.c.path == name)) or f"1-{'0' * 64}"
        at = (datetime.now(UTC) + timedelta(days=days)).isoformat()
        entry = {"digest": digest, "landmark": slug, "verdict": kind if slug else NOT_A_LANDMARK, "at": at}
        source = io.BytesIO(json.dumps([entry]).encode())
        import_verdicts(self.library.database, read_entries(source, "file"))

    @rule(names=several_photos, slug=own_slugs)
    def teach(self, names: list[str], slug: str) -> None:
        self.give_verdict_to_several(names, slug, VerdictKind.CONFIRMED)
        self.learn(is_compared=True)

    @rule(is_compared=st.booleans())
    def learn(self, is_compared: bool) -> None:
        """What verdicts teach; all images are compared with it now, or some by what comes next."""
        (update_taught if is_compared else learn_landmarks)(self.library.database, self.library.model)

    @rule(names=several_photos)
    def compare_some(self, names: list[str]) -> None:
        library = self.library
        query = select(photos.c.content_id).where(photos.c.path.in_(names), photos.c.content_id.is_not(None))
        with library.database.write() as connection:
            images = set(connection.scalars(query))
            compare_images(connection, library.model.id, images, TaughtCache(library.model.id))

    @rule(name=st.sampled_from(("Chapel", "Bridge", "Our church")), position=places)
    def add_landmark(self, name: str, position: tuple[float, float] | None) -> None:
        with suppress(TaggerError):
            self.library.add(name, position)

    @rule(slug=own_slugs)
    def remove_landmark(self, slug: str) -> None:
        with suppress(TaggerError):
            self.library.remove(slug)

    @rule(slug=own_slugs, into=slugs)
    def merge_landmarks(self, slug: str, into: str) -> None:
        with suppress(TaggerError):
            merge_landmark(self.library.database, slug, into)

    @rule(slug=slugs, position=places)
    def move_landmark(self, slug: str, position: tuple[float, float] | None) -> None:
        with suppress(TaggerError):
            edit_landmark(self.library.database, slug, {"position": position})
        self.update_positions()

    @rule(names=several_photos, place=places)
    def move_photos(self, names: list[str], place: tuple[float, float] | None) -> None:
        latitude, longitude = place or (None, None)
        with self.library.database.write() as connection:
            record_photos(connection, self.library.ids(names))
            of_photos = update(photos).where(photos.c.path.in_(names))
            connection.execute(of_photos.values(latitude=latitude, longitude=longitude))
        self.update_positions()

    @rule()
    def update_positions(self) -> None:
        update_kept(self.library.database)

    @rule(position_odds=st.booleans())
    def locate(self, position_odds: bool) -> None:
        changed = EstimateSettings(None, {}, position_odds)
        locate(self.library.database, changed, None, lambda _step, _done, _total: None, dry_run=False)


@pytest.mark.hypothesis
@pytest.mark.postgresql
@pytest.mark.timeout(1800)
def test_tags_follow_the_rule_and_readers_agree_after_any_history(database_url, tmp_path, request):
    with closing(open_database(database_url)) as database:
        library = Library(database, tmp_path / "library")

    @contextmanager
    def copy() -> Iterator[Database]:
        with ExitStack() as stack:
            if database_url.startswith("sqlite"):
                file = tmp_path / "copy.sqlite"
                shutil.copyfile(make_url(database_url).database or "", file)
                url = f"sqlite:///{file}"
            else:
                copies = request.getfixturevalue("postgres_databases").copy(database_url)
                url = stack.enter_context(copies)
            yield stack.enter_context(closing(open_database(url)))

    run_state_machine_as_test(
        partial(History, library, copy), settings=settings(examples(2), stateful_step_count=20)
    )
