"""`tagger pack` as a person types it: places that are taught in one library and found in another."""

import shutil
import subprocess
from pathlib import Path

import pytest
from support.command_line import CommandRunner, run_command
from support.teaching import draw_place, teachable_artifact

from tagger import open as open_library
from tagger.cli.main import main

CHURCH, BRIDGE = 0, 1
NOISE = 0.2
PHOTOS = 6


class Libraries:
    """Two folders with photos of a church and of other places. Ada's is taught the church, and has a pack of it."""

    def __init__(self, folder: Path) -> None:
        self.model = folder / "teachable.pt"
        self.pack = folder / "our-town.pack"
        teachable_artifact(self.model)
        self.ada, self.bob = folder / "ada", folder / "bob"
        for first_seed, photos in ((100, self.ada), (0, self.bob)):
            for seed in range(PHOTOS):
                draw_place(photos / "church" / f"{seed}.jpg", CHURCH, seed=first_seed + seed, noise=NOISE)
            for place in range(10, 20):
                draw_place(photos / f"{place}.jpg", place, seed=first_seed, noise=NOISE)
        taught = [self.ada / "church" / f"{seed}.jpg" for seed in range(4)]
        self.run(self.ada, "tag", self.ada)
        self.run(self.ada, "teach", "Our church", *taught, "--at", "51.05,13.74", "--country", "Germany")
        words = ("--author", "Ada", "--licence", "CC0", "--about", "One church.")
        self.created = self.run(self.ada, "pack", "create", self.pack, *words)
        self.run(self.bob, "tag", self.bob)

    def run(self, owner: Path, *arguments: object) -> str:
        with pytest.MonkeyPatch.context() as patch:
            self.use(patch, owner)
            output = run_command(main, *arguments)
        assert output.code == 0, output.err
        return output.text + output.err

    def use(self, patch: pytest.MonkeyPatch, owner: Path) -> None:
        data = owner.with_name(f"{owner.name}-data")
        patch.setenv("TAGGER_DATABASE_URL", f"sqlite:///{data / 'tagger.sqlite'}")
        patch.setenv("TAGGER_DATA_FOLDER", str(data))
        patch.setenv("TAGGER_MODEL", str(self.model))


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Libraries:
    return Libraries(tmp_path_factory.mktemp("libraries"))


@pytest.fixture
def libraries(
    made_once: Libraries, tagger: CommandRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Libraries:
    """Commands use a copy of Bob's database."""
    shutil.copytree(made_once.bob.with_name("bob-data"), tmp_path / "bob-data")
    made_once.use(monkeypatch, tmp_path / "bob")
    return made_once


def test_a_pack_is_made_of_what_was_taught_with_a_warning(libraries: Libraries) -> None:
    assert "our-town.pack: 1 landmark\n" in libraries.created
    assert "warning: the pack says something about the photos it was learned from" in libraries.created
    assert libraries.pack.stat().st_size < 10_000


def test_a_pack_is_shown_before_it_is_added_and_after(tagger: CommandRunner, libraries: Libraries) -> None:
    shown = tagger("pack", "show", libraries.pack)
    for line in (
        "pack:       our-town",
        "author:     Ada",
        "licence:    CC0",
        "about:      One church.",
        "signature:  Nobody has signed this pack.",
    ):
        assert f"{line}\n" in shown.text
    assert "our-church\tOur church\tGermany\t4\t" in shown.text
    planned = tagger("pack", "add", libraries.pack, "--dry-run")
    assert "Our church (our-church), Germany: new\n" in planned.text
    assert tagger("pack", "list").text == ""
    asked = tagger("pack", "add", libraries.pack)
    assert (asked.code, "--yes" in asked.err) == (2, True)
    added = tagger("pack", "add", libraries.pack, "--yes")
    assert added.text.endswith("our-town added: 16 photos compared, 6 tagged, 0 suggestions\n")
    assert tagger("pack", "list").text == "our-town\t1\t6\t0\tAda\n"
    assert "our-church\tOur church" in tagger("pack", "show", "our-town").text
    photo = libraries.bob / "church" / "0.jpg"
    assert "taught by the pack our-town" in tagger("show", photo).text
    paths = tagger("query", "--landmark", "our church", "--format", "paths").text.splitlines()
    assert [Path(path).parent.name for path in paths] == ["church"] * PHOTOS
    assert tagger("pack", "remove", "our-town", "--dry-run").text == (
        "our-town would be removed, with 6 tags and 0 suggestions\n"
    )
    assert tagger("pack", "remove", "our-town").text == "our-town removed, with 6 tags and 0 suggestions\n"
    assert tagger("query", "--format", "paths").text == ""
    again = tagger("pack", "remove", "our-town")
    assert (again.code, again.err) == (
        1,
        "error: There is no pack our-town: neither a file nor one that was added. `tagger pack list` shows those.\n",
    )


def test_documents_of_packs(tagger: CommandRunner, libraries: Libraries) -> None:
    manifest = tagger("pack", "show", libraries.pack, "--json").json
    assert [manifest[key] for key in ("pack", "author", "licence")] == ["our-town", "Ada", "CC0"]
    (landmark,) = manifest["landmarks"]
    assert (landmark["slug"], landmark["examples"]) == ("our-church", 4)
    planned = tagger("pack", "add", libraries.pack, "--dry-run", "--json").json
    church = {
        "landmark": "our-church",
        "name": "Our church",
        "in_pack": "our-church",
        "new": True,
        "reason": None,
    }
    unsigned = {"state": "unsigned", "signer": None, "key": None}
    words = {"pack": "our-town", "signature": unsigned, "warnings": []}
    assert planned == words | {"landmarks": [church], "dry_run": True}
    assert manifest["signature"] == unsigned
    added = tagger("pack", "add", libraries.pack, "--yes", "--json").json
    assert added.pop("seconds") > 0
    assert added == planned | {"dry_run": False, "compared": 16, "tagged": 6, "suggested": 0}
    (listed,) = tagger("pack", "list", "--json").json
    assert (listed["pack"], listed["added_as"], listed["tagged"]) == ("our-town", ["our-church"], 6)
    removed = tagger("pack", "remove", "our-town", "--json").json
    assert (removed["pack"], removed["dry_run"]) == ("our-town", False)


def test_a_pack_for_another_model_is_refused(
    tagger: CommandRunner, libraries: Libraries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teachable_artifact(tmp_path / "other.pt", seed=1, name="other")
    monkeypatch.setenv("TAGGER_MODEL", str(tmp_path / "other.pt"))
    refused = tagger("pack", "add", libraries.pack, "--yes")
    assert refused.code == 1
    assert "it is made for the model teachable" in refused.err
    assert tagger("pack", "create", libraries.pack).code == 1
    assert tagger("pack", "create", tmp_path / ".pack").code == 2


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed")
def test_a_pack_says_who_has_signed_it_before_it_is_added(
    tagger: CommandRunner, libraries: Libraries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack, key = shutil.copy(libraries.pack, tmp_path / "our-town.pack"), tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    sign = ["ssh-keygen", "-q", "-Y", "sign", "-n", "tagger-pack", "-f", key, pack]
    subprocess.run(sign, check=True, capture_output=True)
    assert "signature:  This pack is signed with a key of nobody you know, SHA256:" in (
        tagger("pack", "add", pack, "--dry-run").text
    )
    (tmp_path / "tagger.toml").touch()
    monkeypatch.setenv("TAGGER_CONFIG", str(tmp_path / "tagger.toml"))
    (tmp_path / "allowed_signers").write_text(f"ada@example.org {key.with_suffix('.pub').read_text()}")
    assert "signature:  This pack is signed by ada@example.org.\n" in tagger("pack", "show", pack).text
    assert tagger("pack", "add", pack, "--yes").code == 0
    assert '"signed_by": "ada@example.org"' in tagger("people", "audit").text


def test_scripts_make_add_and_remove_packs(
    libraries: Libraries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_library() as library:
        assert library.read_pack(libraries.pack).manifest.author == "Ada"
        added = library.add_pack(str(libraries.pack))
        assert (added.tagged, added.slugs) == (PHOTOS, ["our-church"])
        assert [each.name for each in library.packs()] == ["our-town"]
        assert len(list(library.photos(landmark="our-church"))) == PHOTOS
        assert library.remove_pack("our-town").tagged == PHOTOS
        assert library.packs() == []
    libraries.use(monkeypatch, libraries.ada)
    with open_library() as library:
        made = library.create_pack(tmp_path / "again.pack", "our-church", author="Ada")
        assert library.read_pack(tmp_path / "again.pack").manifest == made
        with pytest.raises(ValueError, match="name a file like"):
            library.create_pack(tmp_path / ".pack")
