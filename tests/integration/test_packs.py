"""Packs: landmarks that are taught in one library and found in another, with the same model."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import exists, select
from support.colour_folders import TaggedFolder
from support.empty_databases import create_sqlite_database, empty_database
from support.exports import exported, imported
from support.shipped import ARTIFACT
from support.teaching import DIMENSION, draw_place, teachable_artifact

from tagger.cli.doctor.models import check_teaching
from tagger.database.connection import Database, open_database
from tagger.database.enums import VerdictKind
from tagger.database.tables import (
    classifiers,
    effective_tags,
    landmarks,
    packs,
    photos,
    taught_tags,
    verdicts,
)
from tagger.errors import PackEmpty, PackExists, PackNotFound, PackRefused
from tagger.library.catalog.landmark_edits import NewLandmark, add_landmark, edit_landmark
from tagger.library.catalog.landmark_removal import merge_landmark
from tagger.library.catalog.landmarks import all_landmarks
from tagger.library.query.details import photo_details
from tagger.library.teaching.classifiers import Direction
from tagger.library.teaching.learning import update_taught
from tagger.library.teaching.pack_file import Pack, encode_pack, read_pack
from tagger.library.teaching.packs import (
    AddedPack,
    CreatedPack,
    add_pack,
    create_pack,
    find_pack,
    list_packs,
    plan_pack,
    remove_pack,
    store_pack,
)
from tagger.library.verdicts.service import give_verdict, withdraw_verdict
from tagger.model.artifact import read_manifest
from tagger.settings import Settings
from tagger.transfer.integrity import check_database

CHURCH, BRIDGE, TOWER = range(3)
PLACES = {
    CHURCH: NewLandmark("Our church", city="Dresden", country="Germany", position=(51.05, 13.74), extent="point"),
    BRIDGE: NewLandmark("Old bridge"),
    TOWER: NewLandmark("Tower"),
}  # fmt: skip
PHOTOS = 8
NOISE = 0.2
"""With less, photos of a place are copies of one."""
CONFIRMED, REJECTED = VerdictKind.CONFIRMED, VerdictKind.REJECTED


class Library(TaggedFolder):
    """Photos of three places and of many others, tagged with a model that knows none of them."""

    def __init__(self, database: Database, folder: Path, *, first_seed: int = 0, model_seed: int = 0) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(database, folder, lambda path: teachable_artifact(path, seed=model_seed))
        self.seeds = range(first_seed, first_seed + PHOTOS)
        for place in PLACES:
            for seed in self.seeds:
                draw_place(self.photo(place, seed), place, seed=seed, noise=NOISE)
        for place in range(10, 22):
            draw_place(self.photo(place, first_seed), place, seed=first_seed, noise=NOISE)
        self.tag()

    def photo(self, place: int, seed: int) -> Path:
        return self.folder / f"place-{place:02}" / f"{seed:02}.jpg"

    def add(self, place: int, **changes: object) -> None:
        with self.database.write() as connection:
            add_landmark(connection, NewLandmark(**vars(PLACES[place]) | changes))

    def teach(self, place: int, count: int = 5) -> None:
        for seed in self.seeds[:count]:
            self.give(place, seed, CONFIRMED)
        update_taught(self.database, self.model)

    def give(self, place: int, seed: int, kind: VerdictKind, slug: str | None = None) -> None:
        slug = slug or PLACES[place].name.lower().replace(" ", "-")
        give_verdict(self.database, self.photo(place, seed), slug, kind, "ada", {})

    def pack(self, *names: str, single: bool = False, name: str = "places") -> CreatedPack:
        words = {"author": "Ada", "licence": "CC0", "about": "Three places."}
        return create_pack(self.database, self.model, name, names, words, with_single=single)

    def tagged(self, slug: str) -> set[str]:
        """Names of the photos with a tag of the landmark."""
        query = (
            select(photos.c.path)
            .join(effective_tags, effective_tags.c.content_id == photos.c.content_id)
            .join(landmarks, landmarks.c.id == effective_tags.c.landmark_id)
            .where(landmarks.c.slug == slug, effective_tags.c.accepted)
        )
        with self.database.read() as connection:
            return set(connection.scalars(query))

    def all_of(self, place: int) -> set[str]:
        return {f"place-{place:02}/{seed:02}.jpg" for seed in self.seeds}

    def landmark(self, slug: str) -> object:
        with self.database.read() as connection:
            return next((each for each in all_landmarks(connection) if each.slug == slug), None)

    def check(self) -> None:
        assert list(check_database(self.database)) == []


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """The church and the bridge, taught in a library with other photos of them."""
    folder = tmp_path_factory.mktemp("author")
    with empty_database(folder) as database:
        author = Library(database, folder, first_seed=100)
        for place in (CHURCH, BRIDGE):
            author.add(place)
            author.teach(place)
        file = folder / "places.pack"
        file.write_bytes(author.pack().data)
    return read_pack(file)


@pytest.fixture
def library(database: Database, tmp_path: Path) -> Library:
    return Library(database, tmp_path)


def add(library: Library, pack: Pack) -> AddedPack:
    add_pack(library.database, library.model, pack)
    library.check()
    return find_pack(library.database, pack.manifest.name)


def test_a_pack_has_what_is_known_of_its_landmarks_and_a_direction_for_each(pack: Pack) -> None:
    church, bridge = sorted(pack.manifest.landmarks, key=lambda each: each.slug, reverse=True)
    assert (church.slug, church.name, church.city, church.country) == (
        "our-church",
        "Our church",
        "Dresden",
        "Germany",
    )
    assert (church.latitude, church.longitude, church.extent) == (51.05, 13.74, "point")
    assert (church.examples, bridge.examples) == (5, 5)
    assert church.precision is not None
    assert pack.manifest.embedding.dimension == DIMENSION
    assert (pack.manifest.author, pack.manifest.licence) == ("Ada", "CC0")
    data = pack.file.read_bytes()
    assert b".jpg" not in data
    assert b"place-00" not in data
    assert len(data) < 3 * 4 * DIMENSION


@pytest.mark.postgresql
def test_a_pack_finds_the_photos_of_another_library_and_new_ones(library: Library, pack: Pack) -> None:
    added = add(library, pack)
    for place, slug in ((CHURCH, "our-church"), (BRIDGE, "old-bridge")):
        assert library.tagged(slug) == library.all_of(place)
    assert (added.tagged, added.suggested, list(added.slugs)) == (2 * PHOTOS, 0, ["old-bridge", "our-church"])
    assert [each.name for each in list_packs(library.database)] == ["places"]
    new = draw_place(library.folder / "new.jpg", CHURCH, seed=99, noise=NOISE)
    assert library.tag()["new.jpg"] == "tagged"
    (tag,) = [each for each in photo_details(library.database, new).photo.tags if each.accepted]
    assert (tag.landmark, tag.source, tag.pack) == ("our-church", "taught", "places")


def test_a_pack_finds_what_the_same_examples_find_here(library: Library, tmp_path: Path) -> None:
    library.add(CHURCH)
    library.teach(CHURCH)
    file = tmp_path / "own.pack"
    file.write_bytes(library.pack(name="own").data)
    query = select(taught_tags.c.content_id, taught_tags.c.score).order_by(taught_tags.c.content_id)
    with library.database.read() as connection:
        taught = dict(map(tuple, connection.execute(query)))
    for seed in library.seeds[:5]:
        withdraw_verdict(library.database, library.photo(CHURCH, seed), "our-church", CONFIRMED, {})
    update_taught(library.database, library.model)
    assert library.tagged("our-church") == set()
    add(library, read_pack(file))
    with library.database.read() as connection:
        found = dict(map(tuple, connection.execute(query)))
    assert found.keys() == taught.keys()
    assert found == pytest.approx(taught, abs=0.02)  # the sample of the library has the examples, too


@pytest.mark.postgresql
def test_removing_a_pack_takes_its_tags_and_landmarks_back_and_verdicts_stay(
    library: Library, pack: Pack
) -> None:
    add(library, pack)
    library.give(CHURCH, 0, CONFIRMED)
    library.give(CHURCH, 1, REJECTED)
    update_taught(library.database, library.model)
    assert library.tagged("our-church") >= library.all_of(CHURCH) - {"place-00/01.jpg"}
    removed = remove_pack(library.database, "places")
    library.check()
    assert removed.tagged == PHOTOS  # of the bridge; the church was taught here meanwhile
    assert library.tagged("old-bridge") == set()
    assert library.landmark("old-bridge") is None
    assert library.landmark("our-church") is not None
    tags = [photo_details(library.database, library.photo(CHURCH, seed)).photo.tags for seed in (0, 1)]
    verdicts = [next(each.verdict for each in of_photo if each.landmark == "our-church") for of_photo in tags]
    assert verdicts == ["confirmed", "rejected"]
    with library.database.read() as connection:
        assert set(connection.scalars(select(classifiers.c.pack))) == {""}  # learned from the confirmed photo
        assert connection.execute(select(packs)).all() == []
    with pytest.raises(PackNotFound):
        remove_pack(library.database, "places")
    assert add(library, pack).tagged == PHOTOS


def test_own_teaching_of_a_packs_landmark_adds_to_what_the_pack_finds(library: Library, pack: Pack) -> None:
    add(library, pack)
    library.give(CHURCH, 0, CONFIRMED)
    update_taught(library.database, library.model)
    library.check()
    assert library.tagged("our-church") == library.all_of(CHURCH)
    with library.database.read() as connection:
        sources = set(connection.scalars(select(classifiers.c.pack)))
    assert sources == {"", "places"}
    withdraw_verdict(library.database, library.photo(CHURCH, 0), "our-church", CONFIRMED, {})
    update_taught(library.database, library.model)
    library.check()
    assert library.tagged("our-church") == library.all_of(CHURCH)


def test_a_merged_landmark_keeps_what_a_pack_says_of_it(library: Library, pack: Pack) -> None:
    add(library, pack)
    library.add(TOWER)
    with library.database.write() as connection:
        merge_landmark(connection, "our-church", "tower")
    update_taught(library.database, library.model)
    library.check()
    assert library.tagged("tower") == library.all_of(CHURCH)


def reasons(library: Library, pack: Pack) -> dict[str, tuple[str, bool, str | None]]:
    plans = plan_pack(library.database, library.model, pack)
    return {each.packed.slug: (each.slug, each.landmark is None, each.reason) for each in plans}


def test_landmarks_are_joined_by_slug_or_name_and_position_and_never_silently(
    library: Library, pack: Pack
) -> None:
    same_slug = "it has the same slug"
    library.add(BRIDGE)
    library.add(CHURCH, slug="frauenkirche", position=(51.051, 13.741))
    assert reasons(library, pack) == {
        "old-bridge": ("old-bridge", False, same_slug),
        "our-church": ("frauenkirche", False, "it has the same name, and is at the same place"),
    }
    with library.database.write() as connection:
        edit_landmark(connection, "frauenkirche", {"position": (48.0, 11.0)})
    assert reasons(library, pack)["our-church"] == ("our-church", True, None)
    library.add(CHURCH, slug="our-church", name="Chapel", position=(48.0, 11.0))
    elsewhere = "the slug our-church belongs to Chapel, another landmark"
    assert reasons(library, pack)["our-church"] == ("our-church-2", True, elsewhere)
    add(library, pack)
    assert library.tagged("our-church-2") == library.all_of(CHURCH)
    remove_pack(library.database, "places")
    assert library.landmark("our-church-2") is None
    assert library.landmark("old-bridge") is not None


def test_a_pack_is_refused_for_another_model_and_where_one_has_its_name(
    library: Library, pack: Pack, tmp_path: Path
) -> None:
    add(library, pack)
    with pytest.raises(PackExists, match="pack remove places"):
        add(library, pack)
    with empty_database(tmp_path / "other") as database:
        other = Library(database, tmp_path / "other", model_seed=1)
        with pytest.raises(
            PackRefused, match=r"is made for the model teachable .* Nothing was changed; put its model in use"
        ):
            add_pack(database, other.model, pack)


def teaching_notes(library: Library) -> list[str]:
    """What `tagger doctor` says of teaching, without positions, which these tests do not update."""
    settings = Settings(model=str(library.model.file))
    notes = [each.found for each in check_teaching(settings, library.database)]
    return [each for each in notes if "positions" not in each]


@pytest.mark.postgresql
def test_adding_a_pack_that_was_interrupted_is_completed_by_adding_it_again(
    library: Library, pack: Pack, tmp_path: Path
) -> None:
    plans = store_pack(library.database, library.model, pack)
    assert teaching_notes(library) == ["not all photos are compared with the pack places"]
    other = tmp_path / "other.pack"
    other.write_bytes(
        encode_pack(
            pack.manifest.model_copy(update={"about": "Another."}),
            [Direction(row, 0.0, 5, 1.0) for row in pack.directions],
        )
    )
    with pytest.raises(PackExists):
        add_pack(library.database, library.model, read_pack(other))
    assert plan_pack(library.database, library.model, pack) == plans
    assert add(library, pack).tagged == 2 * PHOTOS
    assert teaching_notes(library) == []
    with pytest.raises(PackExists):
        add_pack(library.database, library.model, pack)


def test_a_single_photo_is_shared_only_if_that_is_wanted(library: Library) -> None:
    with pytest.raises(PackEmpty, match="none is taught here"):
        library.pack()
    library.add(CHURCH)
    library.teach(CHURCH, count=1)
    with pytest.raises(PackEmpty, match="one photo has taught each"):
        library.pack()
    assert library.pack("our church", single=True).manifest.landmarks[0].examples == 1
    library.add(BRIDGE)
    library.teach(BRIDGE, count=2)
    created = library.pack()
    assert [each.slug for each in created.manifest.landmarks] == ["old-bridge"]
    assert created.single == ["our-church"]


def test_a_direction_of_another_length_is_forged(library: Library, pack: Pack, tmp_path: Path) -> None:
    file = tmp_path / "places.pack"
    forged = [Direction(2.0 * row, 0.0, 5, 1.0) for row in pack.directions]
    file.write_bytes(encode_pack(pack.manifest, forged))
    with pytest.raises(PackRefused, match="changed or forged"):
        add_pack(library.database, library.model, read_pack(file))
    assert list_packs(library.database) == []


def test_packs_move_with_an_exported_database(library: Library, pack: Pack, tmp_path: Path) -> None:
    add(library, pack)
    content = exported(library.database)
    with empty_database(tmp_path / "copy") as copy:
        imported(copy, content)
        assert list(check_database(copy)) == []
        assert find_pack(copy, "places").tagged == 2 * PHOTOS


class RealPhotos(TaggedFolder):
    """Photos of real places and of anything else, tagged with the shipped model."""

    def __init__(self, folder: Path, photos: Sequence[Path], examples: Sequence[Path] = ()) -> None:
        folder.mkdir()
        database = open_database(create_sqlite_database(folder / "tagger.sqlite"))
        super().__init__(database, folder, lambda path: read_manifest(shutil.copyfile(ARTIFACT, path)))
        for photo in (*photos, *examples):
            (self.folder / photo.parent.name).mkdir(exist_ok=True)
            shutil.copyfile(photo, self.path(photo))
        self.tag()
        for place in {photo.parent.name for photo in examples}:
            with database.write() as connection:
                add_landmark(connection, NewLandmark(place))
        for photo in examples:
            give_verdict(database, self.path(photo), photo.parent.name, CONFIRMED, "ada", {})
        update_taught(database, self.model)

    def path(self, photo: Path) -> Path:
        return self.folder / photo.parent.name / photo.name

    def found(self) -> set[tuple[str, str]]:
        """The photos without a verdict, with each landmark that their embedding gives them."""
        has_verdict = exists().where(verdicts.c.content_id == taught_tags.c.content_id)
        query = (
            select(photos.c.path, landmarks.c.slug)
            .join(taught_tags, taught_tags.c.content_id == photos.c.content_id)
            .join(landmarks, landmarks.c.id == taught_tags.c.landmark_id)
            .where(taught_tags.c.accepted, ~has_verdict)
        )
        with self.database.read() as connection:
            return {(row.path, row.slug) for row in connection.execute(query)}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_pack_of_ten_real_places_finds_what_teaching_them_there_finds(
    tmp_path: Path, test_data: Path
) -> None:
    known = {label.slug for label in read_manifest(ARTIFACT).labels}
    folders = sorted((test_data / "places" / "others").iterdir())
    of_places = [sorted(folder.iterdir()) for folder in folders if folder.name not in known]
    of_places = sorted(of_places, key=len, reverse=True)[:10]
    examples = [photo for photos in of_places for photo in photos[:5]]
    others = sorted((test_data / "unknown" / "test" / "objects").iterdir())[:60]
    sought = [*(photo for photos in of_places for photo in photos[5:]), *others]
    author = RealPhotos(tmp_path / "author", [], examples)
    file = tmp_path / "ten.pack"
    file.write_bytes(create_pack(author.database, author.model, "ten", [], {}).data)
    teacher = RealPhotos(tmp_path / "teacher", sought, examples)
    taught = teacher.found()
    reader = RealPhotos(tmp_path / "reader", sought)
    add_pack(reader.database, reader.model, read_pack(file))
    found = reader.found()
    photos_of_places = len(sought) - len(others)
    right = [sum(photo.startswith(slug) for photo, slug in tags) for tags in (taught, found)]
    assert right[0] > 0.7 * photos_of_places
    assert abs(right[0] - right[1]) <= 0.01 * photos_of_places
    assert len(found ^ taught) <= 0.02 * len(taught)
    for each in (author, teacher, reader):
        each.database.close()
