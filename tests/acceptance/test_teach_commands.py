"""`tagger teach`, `review` and `similar` as a person types them: the commands that compare embeddings."""

import shutil
from pathlib import Path

import pytest
from PIL import Image
from support.artifacts import colour_of, tiny_artifact
from support.command_line import CommandRunner, run_command
from support.teaching import draw_place, draw_sight, teachable_artifact

from tagger.cli.commands.teach import FOUND
from tagger.cli.main import main
from tagger.errors import ArgumentInvalid
from tagger.interface import open as open_library

CHURCH, BRIDGE = 0, 1
PHOTOS = 8  # Photos of the church


class Library:
    """A folder with photos of a church and of other places, and a database in which they are tagged."""

    def __init__(self, folder: Path) -> None:
        self.photos = folder / "photos"
        self.model = folder / "teachable.pt"
        self.database = folder / "data" / "tagger.sqlite"
        self.bridge = self.photos / "bridge.jpg"
        self.others = self.photos / "others"
        teachable_artifact(self.model)
        for seed, path in enumerate(self.church(*range(PHOTOS))):
            draw_place(path, CHURCH, seed=seed)
        draw_place(self.bridge, BRIDGE)
        for place in range(10, 20):
            draw_place(self.others / f"{place}.jpg", place)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TAGGER_DATABASE_URL", f"sqlite:///{self.database}")
            patch.setenv("TAGGER_DATA_FOLDER", str(self.database.parent))
            patch.setenv("TAGGER_MODEL", str(self.model))
            assert run_command(main, "tag", self.photos).code == 0

    def church(self, *numbers: int) -> list[Path]:
        return [self.photos / "church" / f"{number}.jpg" for number in numbers]


@pytest.fixture(scope="module")
def tagged_once(tmp_path_factory) -> Library:
    return Library(tmp_path_factory.mktemp("library"))


@pytest.fixture
def untagged(tagger, tagged_once, monkeypatch) -> Library:
    """The photos, with an empty database. Tests draw more photos elsewhere."""
    monkeypatch.setenv("TAGGER_MODEL", str(tagged_once.model))
    return tagged_once


@pytest.fixture
def library(untagged, tmp_path) -> Library:
    """The photos, and a copy of the database in which they are tagged."""
    (tmp_path / "data").mkdir(exist_ok=True)
    shutil.copy(untagged.database, tmp_path / "data")
    return untagged


def found(tagger: CommandRunner, landmark: str) -> list[str]:
    output = tagger("query", "--landmark", landmark, "--format", "paths")
    return sorted(Path(line).name for line in output.text.splitlines())


def test_a_place_is_taught_and_found_in_the_library(tagger, library):
    facts = ("--at", "51.05,13.74", "--country", "Germany")
    output = tagger("teach", "Our church", *library.church(0, 1, 2), *facts, code=0)
    assert output.text == (
        "Our church (new, our-church): learned from 3 photos; 19 photos compared\n"
        "5 more photos tagged, of which about 99% should be right; 0 suggestions\n"
    )
    assert "more photos of it from other sides find more: tagger teach our-church" in output.err
    assert found(tagger, "our church") == [f"{seed}.jpg" for seed in range(PHOTOS)]
    assert tagger("query", "--near", "51,13.7", "--count").text == f"{PHOTOS}\n"


def test_json_has_the_numbers_and_existing_facts_stay(tagger, library):
    options = ("--not", library.bridge, library.others, "--by", "Ada", "--json")
    document = tagger("teach", "Our church", *library.church(0, 1), *options).json
    counts = tuple(document[key] for key in ("landmark", "examples", "rejected", "compared"))
    assert counts == ("our-church", 2, 11, 19)
    verdicts = tagger("review", "list", "--verdict", "rejected", "--json").json
    assert {(each["landmark"], each["by"]) for each in verdicts} == {("our-church", "Ada")}
    first = ("teach", "Our mill", library.bridge, "--country", "Germany")
    assert (tagger(*first).code, tagger(*first).code) == (0, 0)
    output = tagger("teach", "OUR MILL", *library.church(1), "--country", "France")
    assert (output.code, "tagger landmark edit our-mill" in " ".join(output.err.split())) == (2, True)


def test_what_a_badly_taught_place_takes_is_told_before_and_after_and_can_be_undone(
    tagger, library, tmp_path
):
    red = [tmp_path / f"red-{size}.jpg" for size in (80, 82, 84, 86, 88)]
    for path in red:
        Image.new("RGB", (int(path.stem[-2:]), 60), colour_of(0)).save(path, quality=95)
    assert tagger("tag", *red).code == 0
    before = tagger("query", "--json").text
    options = ("teach", "Our church", *red[:3], *library.church(0, 1, 2))
    planned, plan = tagger(*options, "--dry-run"), tagger(*options, "--dry-run", "--json").json
    assert tagger("query", "--json").text == before
    output = tagger(*options)
    learned, *effect = output.text.splitlines()[1:]
    assert "5 more photos tagged" in learned
    kept = "kept, because the model is nearly certain: Eiffel Tower on 2 photos"
    only = "Our church is only suggested there"
    assert effect == ["doubtful now: Eiffel Tower on 3 photos", f"{kept}; {only}"]
    assert [line.replace("would be tagged", "tagged") for line in planned.text.splitlines()[1:]] == [
        *(learned, effect[0].replace("now", "then"), effect[1])
    ]
    assert "photos that are not tagged yet are not counted" in planned.err
    named = {"landmark": "eiffel-tower", "name": "Eiffel Tower", "photos": 3}
    taught = tagger(*options, "--json").json
    assert (taught["named_otherwise"], taught["doubtful"]) == ([named], [named])
    assert taught["kept"] == [named | {"photos": 2}]
    assert {key: plan[key] for key in FOUND} == {key: taught[key] for key in FOUND}
    assert "doubtful: Our church is confirmed" in tagger("show", red[0]).text
    assert "suggested: the model is nearly certain of Eiffel Tower" in tagger("show", red[4]).text
    assert found(tagger, "eiffel-tower") == [path.name for path in red[3:]]
    undo = "tagger landmark remove our-church --with-verdicts"
    assert (taught["undo"], f"to undo this, run: {undo}\n" in output.err) == (undo, True)
    assert tagger(*undo.split()[1:]).code == 0
    assert tagger("query", "--json").text == before


def test_photos_that_are_not_in_the_database_are_tagged_first(tagger, untagged, tmp_path):
    """Not for an invalid name, nor in a dry run."""
    assert tagger("teach", "two\nlines", untagged.photos / "church").code == 2
    planned = tagger("teach", "Our church", *untagged.church(0, 1, 2), "--dry-run")
    assert "3 paths would be tagged first" in planned.text
    assert tagger("query", "--any-rank", "--json").json == []
    output = tagger("teach", "Our church", untagged.photos / "church", "--not", untagged.bridge)
    assert output.text == (
        "Our church (new, our-church): learned from 8 photos and 1 rejected one; 9 photos compared\n"
        "0 more photos tagged; 0 suggestions\n"
    )
    assert "photos that are tagged from now on are compared with it, too" in output.err
    new = draw_place(tmp_path / "new.jpg", CHURCH, seed=100)
    assert "Our church" in tagger("tag", new).text


def test_broken_files_are_left_out_with_a_warning(tagger, untagged, tmp_path):
    broken = tmp_path / "new" / "broken.jpg"
    draw_place(tmp_path / "new" / "sound.jpg", CHURCH)
    broken.write_bytes(b"no image")
    output = tagger("teach", "Our church", broken.parent, code=3)
    assert "learned from 1 photo;" in output.text
    assert "new/broken.jpg is left out: The content is not an image" in output.err
    alone = tagger("teach", "Our bridge", broken)
    assert (alone.code, alone.text) == (1, "")
    assert "None of the photos can be an example" in alone.err
    assert "our-bridge" not in tagger("landmark", "list", "--all").text


def test_what_contradicts_itself_is_wrong_usage(tagger, library, tmp_path):
    (photo,) = library.church(0)
    copy = shutil.copy(photo, tmp_path / "copy.jpg")
    for options in ((), (photo, "--not", photo), (photo, "--not", copy), (photo, "--at", "91,0")):
        output = tagger("teach", "Our church", *options)
        assert (output.code, output.text) == (2, ""), options
    with (
        open_library(f"sqlite:///{tmp_path}/data/tagger.sqlite", model=library.model) as opened,
        pytest.raises(ArgumentInvalid, match="cannot both show the landmark and not show it"),
    ):
        opened.teach("Our church", [photo], rejected=[copy])
    assert tagger("review", "list", "--json").json == []
    assert "our-church" not in tagger("landmark", "list", "--all").text


def test_what_cannot_be_taught_is_refused_with_the_reason(tagger, library, tmp_path):
    tagger("landmark", "add", "Mill", "--slug", "mill-dresden")
    tagger("landmark", "add", "Mill", "--slug", "mill-leipzig")
    (tmp_path / "empty").mkdir()
    for options, code, reason in (
        (("Our church", "missing.jpg"), 1, "There is no file or folder at"),
        (("Our church", "empty"), 1, "The database has no photo at"),
        (("Our church", "--not", library.bridge), 1, "There is no landmark Our church"),
        (("Mill", *library.church(0)), 1, "Use one of these slugs"),
        (("  ", *library.church(0)), 2, "it has no letter, digit or symbol"),
    ):
        output = tagger("teach", *options)
        assert (output.code, output.text) == (code, ""), options
        assert reason in output.err
        assert options[1] == "empty" or tagger("teach", *options, "--dry-run").err == output.err
    assert tagger("review", "list", "--json").json == []


def test_a_mistyped_name_is_pointed_out(tagger, library):
    first = tagger("teach", "Our church", *library.church(0))
    assert "there is also" not in first.err
    planned = tagger("teach", "Our churc", *library.church(2), "--dry-run")
    assert "there is also Our church (our-church)" in planned.err
    command = "landmark merge our-chuch --into our-church"
    assert f"tagger {command}" in tagger("teach", "Our chuch", *library.church(1)).err
    assert (
        "Our church is now learned from 2 photos: 6 photos tagged by it in all"
        in tagger(*command.split()).err
    )


def test_suggestions_are_listed_best_first(tagger, library, tmp_path):
    assert "to teach a landmark, run: tagger teach" in tagger("review").err
    for step in range(12):  # resemble the church less and less
        draw_place(tmp_path / "dim" / f"{step}.jpg", CHURCH, seed=50 + step, noise=0.2 + 0.1 * step)
    tagger("tag", tmp_path / "dim")
    taught = tagger("teach", "Our church", *library.church(0, 1, 2), "--json").json
    suggested = tagger("review", "our church", "--json").json
    assert len(suggested) == taught["suggested"] > 1
    tags = [tag for photo in suggested for tag in photo["tags"]]
    assert {(tag["landmark"], tag["accepted"]) for tag in tags} == {("our-church", False)}
    scores = [tag["score"] for tag in tags]
    assert scores == sorted(scores, reverse=True)
    assert tagger("review", "--limit", "1", "--format", "paths").text == suggested[0]["path"] + "\n"
    listed = tagger("review")
    assert "\tOur church\t" in listed.text
    assert "run: tagger confirm LANDMARK PHOTO…, or: tagger reject LANDMARK PHOTO…" in listed.err
    assert "tagger teach" not in listed.err
    of_one = tagger("review", "our-church").err
    assert "run: tagger confirm our-church PHOTO…, or: tagger reject our-church PHOTO…" in of_one
    assert "run: tagger teach our-church RIGHT-PHOTO… --not WRONG-PHOTO…" in of_one
    tagger("reject", "our-church", suggested[0]["path"])
    assert suggested[0]["path"] not in [photo["path"] for photo in tagger("review", "--json").json]
    assert tagger("review", "nowhere").code == 1
    assert tagger("review", "--format", "nothing").code == 2


def test_a_taught_place_stays_with_its_model_until_another_learns_it(tagger, library, tmp_path, monkeypatch):
    monkeypatch.delenv("TAGGER_MODEL")
    teachable_artifact(tmp_path / "second.pt", seed=1, name="second")
    tagger("model", "add", tmp_path / "second.pt")
    tagger("model", "use", "teachable")
    examples = library.church(0, 1, 2, 3, 4)
    tagger("teach", "Our church", *examples)
    assert "taught" not in tagger("model", "use", "second", "teachable").err
    assert tagger("confirm", "our-church", *library.church(5)).code == 0
    lost = "second does not know what teachable was taught: our-church"
    warning = tagger("model", "use", "second").err
    assert f"{lost}. Run: tagger backfill outdated" in warning
    assert len(found(tagger, "our-church")) == PHOTOS
    tagger("backfill", "outdated", "--local")
    assert len(found(tagger, "our-church")) == PHOTOS
    tagger("model", "use", "teachable", "second")
    tagger("confirm", "--withdraw", "our-church", *examples, *library.church(5))
    assert found(tagger, "our-church") == []


def test_without_embeddings_nothing_is_taught_or_similar(tagger, untagged, tmp_path, monkeypatch):
    none_stored = tagger("similar", *untagged.church(0))
    assert (none_stored.code, none_stored.text) == (0, "")
    assert "no other photo to compare" in none_stored.err
    tiny_artifact(tmp_path / "tiny.pt")
    monkeypatch.setenv("TAGGER_MODEL", str(tmp_path / "tiny.pt"))
    assert "finding similar photos" in tagger("similar", *untagged.church(0), code=1).err
    output = tagger("teach", "Our church", *untagged.church(3))
    assert (output.code, output.text) == (1, "")
    assert "The model tiny gives no embeddings" in output.err


def test_similar_photos_are_written_in_every_format(tagger, library):
    options = ("similar", *library.church(0), "--limit", "2")
    for line in tagger(*options).text.splitlines()[1:]:
        path, similarity, landmarks = line.split("\t")
        assert (Path(path).parent.name, landmarks) == ("church", "")
        assert 0.8 < float(similarity) < 1
    assert ",similarity,landmark," in tagger(*options, "--format", "csv").text.splitlines()[0]
    assert len(tagger(*options, "--format", "ndjson").text.splitlines()) == 2
    assert '"similarity"' in tagger(*options, "--format", "geojson").text
    below = tagger(*options, "--under", library.others, "--format", "paths").text.splitlines()
    assert [Path(path).parent for path in below] == [library.others] * 2
    assert tagger("similar", *library.church(0), "--limit", "0").code == 2


def test_a_photo_that_is_not_stored_is_compared_and_stays_so(tagger, library, tmp_path):
    new = draw_place(tmp_path / "new.jpg", CHURCH, seed=100)
    copy = shutil.copy(*library.church(0), tmp_path / "copy.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    others = tagger("similar", copy, "--limit", "100", "--format", "paths")
    assert str(library.church(0)[0]) not in others.text.splitlines()
    mixed = tagger("similar", new, "broken.jpg", "--json")
    assert (mixed.code, len(mixed.json)) == (3, 19)
    assert "broken.jpg is left out: The content is not an image" in mixed.err
    alone = tagger("similar", "broken.jpg")
    assert (alone.code, alone.text, "broken.jpg is left out" in alone.err) == (1, "", True)
    assert tagger("show", new).code == 1


def test_photos_near_a_sight_ask_a_question_whose_answer_finds_scans(tagger, untagged, tmp_path):
    draw_sight(tmp_path / "rome")
    assert tagger("tag", tmp_path / "rome").code == 0
    (question,) = tagger("review", "questions", "--json").json
    assert (question["place"], len(question["taken_here"]), len(question["similar"])) == ("Colosseum", 5, 3)
    assert "look like these (3)" in tagger("review", "questions").text
    number = question["number"]
    tagger("review", "answer", number, "colosseum", "--not", tmp_path / "rome/rome-0.jpg", code=0)
    assert len(found(tagger, "colosseum")) == 7
    assert "no question waits" in tagger("review", "questions").err
    assert tagger("review", "answer", number, "--withdraw").code == 0
    assert tagger("review", "answer", number, "--none", "--json").json["answer"] == "none"
    with open_library() as library:
        assert library.questions() == []
