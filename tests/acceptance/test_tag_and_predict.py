"""`tagger tag` and `predict`, typed as a user types them, without any server, also with RAW photos."""

import json
import os
import re
import shlex
import signal
from contextlib import closing
from pathlib import Path

import pytest
import torch
from PIL import Image
from rig.containers import encode_image
from rig.raw_files import LARGE, MIDDLE, RAW_KINDS, THUMBNAIL, RawContent, raw_file
from support.artifacts import colour_of, tiny_artifact
from support.camera_photos import draw_shot
from support.commands import Screen, draw, draw_many


def test_tagging_a_folder_prints_a_line_per_photo_and_ends_with_the_sums(terminal):
    """With -q, a line for each in which something was found."""
    draw(terminal.folder / "photos" / "tower.jpg", 0)
    draw(terminal.folder / "photos" / "2019" / "gate.jpg", 1)
    draw(terminal.folder / "photos" / "grey.jpg", None)
    (terminal.folder / "photos" / "broken.jpg").write_bytes(b"no photo")
    done = terminal.run("tag", "photos", code=3)
    lines = sorted(line.partition("photos/")[2] for line in done.stdout.splitlines())
    starts = ("2019/gate.jpg: Brandenburg Gate ", "broken.jpg: failed (not-an-image)", "grey.jpg: unknown")
    for line, start in zip(lines, (*starts, "tower.jpg: Eiffel Tower "), strict=True):
        assert line.startswith(start)
    assert "job 1 finished: 4 photos: 2 tagged, 1 unknown, 0 skipped, 1 failed" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("run: tagger teach NAME PHOTO…")
    quiet = terminal.run("-q", "tag", "photos", "--again", code=3).stdout.splitlines()
    assert {Path(line.partition(": ")[0]).stem for line in quiet} == {"gate", "broken", "tower"}


def test_a_job_ends_with_the_landmarks_that_it_found(terminal):
    draw(terminal.folder / "photos" / "gate.jpg", 1)
    for seed in range(2):
        draw(terminal.folder / "photos" / f"tower{seed}.jpg", 0, seed=seed)
    lines = "Photos  Landmark\n     2  Eiffel Tower\n     1  Brandenburg Gate\n"
    found = [("eiffel-tower", 2), ("brandenburg-gate", 1)]
    for quiet in ((), ("-q",)):
        assert lines in terminal.run(*quiet, "tag", "photos", "--again").stderr
    assert [
        (each["landmark"], each["photos"]) for each in terminal.json("job", "show", "2")["landmarks"]
    ] == found
    assert lines.splitlines()[0] in terminal.run("job", "show", "1").stdout
    again = terminal.json("tag", "photos")
    assert (again["skipped"], again["landmarks"]) == (3, [])
    terminal.run("reject", "eiffel-tower", "photos/tower0.jpg")
    numbers = [each["photos"] for each in terminal.json("job", "show", "1")["landmarks"]]
    assert numbers == [1, 1]


def test_what_is_probable_is_suggested_and_no_tag_anywhere(terminal):
    draw(terminal.folder / "photos" / "gate.jpg", 1)
    draw(terminal.folder / "photos" / "grey.jpg", None)
    tiny_artifact(terminal.folder / "strict.pt", threshold=1.0, suggestion_threshold=0.3)
    terminal.run("model", "add", "strict.pt", "--name", "strict")
    terminal.run("model", "use", "strict")
    text = "1 more may show a landmark; to look at it, run: tagger review"
    done = terminal.run("tag", "photos", "--model", "strict")
    assert "2 photos: 0 tagged, 2 unknown" in done.stderr
    assert text in done.stderr
    assert text in terminal.run("job", "show", "1").stdout
    assert terminal.json("job", "show", "1")["suggested"] == 1
    assert terminal.json("query") == []
    assert terminal.json("query", "--landmark", "brandenburg-gate") == []
    assert terminal.json("landmark", "list") == []
    (photo,) = terminal.json("query", "--any-rank", "--landmark", "brandenburg-gate", "--min-score", "0.3")
    tags = [(tag["landmark"], tag["state"], tag["accepted"]) for tag in photo["tags"]]
    assert tags[0] == ("brandenburg-gate", "suggested", False)
    shown = terminal.run("show", "photos/gate.jpg").stdout
    assert re.search(r"suggested: +Brandenburg Gate 0\.\d\d; below the threshold 1\n", shown)
    (suggested,) = terminal.json("review")
    assert suggested["path"].endswith("gate.jpg")
    terminal.run("reject", "brandenburg-gate", "photos/gate.jpg")
    terminal.run("tag", "photos", "--model", "strict", "--again")
    assert terminal.json("review") == []
    assert terminal.json("job", "show", "2")["suggested"] == 0
    terminal.run("confirm", "brandenburg-gate", "photos/gate.jpg")
    assert [photo["path"][-8:] for photo in terminal.json("query")] == ["gate.jpg"]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ((), {b"tower.jpg"}),
        pytest.param(("-v",), {b"tower.jpg", b"grey.jpg"}, marks=pytest.mark.slow),
        pytest.param(("-q",), set(), marks=pytest.mark.slow),
    ],
)
def test_on_a_terminal_photos_without_a_landmark_have_no_line(terminal, words, shown):
    draw(terminal.folder / "photos" / "tower.jpg", 0)
    draw(terminal.folder / "photos" / "grey.jpg", None)
    with closing(Screen(terminal, *words, "tag", "photos", "--again")) as screen:
        screen.read_until(b"Eiffel Tower\r\n")
        if words != ("-q",):
            screen.read_until(b"run: tagger teach")
        assert {name for name in (b"tower.jpg", b"grey.jpg") if name + b": " in screen.written} == shown


def test_a_landmark_far_from_the_gps_of_its_photo_is_unknown_everywhere(terminal):
    draw_shot(terminal.folder / "photos" / "a.jpg", 0, label=0, gps=(35.68, 139.77))
    copy = terminal.folder / "photos" / "b.jpg"
    copy.write_bytes((terminal.folder / "photos" / "a.jpg").read_bytes())
    done = terminal.run("tag", "photos")
    assert done.stdout.startswith(f"{terminal.folder}/photos/a.jpg: unknown (doubtful: Eiffel Tower")
    assert "2 photos: 0 tagged, 2 unknown" in done.stderr
    assert "2 photos with a landmark too far from where the photo was taken" in done.stderr
    for name in ("a.jpg", "b.jpg"):
        assert terminal.json("show", f"photos/{name}")["outcome"] == "unknown"
    progress = terminal.json("job", "show", "1")
    assert (progress["tagged"], progress["unknown"], progress["landmarks"]) == (0, 2, [])


def test_files_that_are_left_out_are_counted(terminal):
    draw(terminal.folder / "photos" / "tower.jpg", 0)
    for name in ("a.mp4", "b.MP4", "c.mov", "d.mov", "e.aae", "f.pdf", "g.pdf", "tower.jpg.xmp", ".h.mp4"):
        (terminal.folder / "photos" / name).touch()
    text = "left out by extension: 7 files"
    for command in ("tag", "enqueue"):
        planned = terminal.run(command, "photos", "--dry-run").stdout
        assert planned.startswith("1 photo would be classified")
    assert terminal.json("status")["jobs"] == []
    for command in (("tag", "--dry-run"), ("enqueue",), ("backfill", "all", "--scan")):
        assert (
            f"{text} (2 .mov, 2 .mp4, 2 .pdf, .aae)" in terminal.run(*command, "photos").stderr.splitlines()
        )
    assert terminal.json("tag", "photos")["other_files"] == 7
    assert "  left out by extension: 7 files\n" in terminal.run("job", "show", "1").stdout


def test_the_summary_names_how_to_see_correct_and_write_the_tags(terminal):
    folder = terminal.folder / "my photos"
    draw(folder / "tower.jpg", 0)
    draw(terminal.folder / "elsewhere" / "tower.jpg", 0, seed=1)
    terminal.run("tag", "elsewhere")
    done = terminal.run("tag", "my photos")
    query, correct, write = (
        shlex.split(line.partition("run: tagger ")[2]) for line in done.stderr.splitlines()[-3:]
    )
    assert [photo["path"] for photo in terminal.json(*query)] == [str(folder / "tower.jpg")]
    assert correct[:3] == ["reject", "LANDMARK", "PHOTO,"]
    assert "1 photo: 1 written" in terminal.run(*write).stderr
    quiet = terminal.run("-q", "tag", "my photos", "--again").stderr
    assert re.fullmatch(
        r"job \d finished: 1 photo: 1 tagged, .*\nPhotos  Landmark\n     1  Eiffel Tower\n", quiet
    )
    assert "run: " not in terminal.run("tag", "my photos", "--again", "--json").stderr
    several = terminal.run("tag", "my photos", "elsewhere", "--again").stderr.splitlines()
    job = terminal.json("job", "list")[0]["job"]
    assert f"to see the tags, run: tagger query --job {job}" in several
    assert f"to write them to metadata, run: tagger metadata write --job {job} --to sidecar" in several
    repeated = terminal.run("tag", "my photos").stderr
    assert "run: " not in repeated  # nothing new is tagged
    assert "skipped: these photos are classified already; to include them, add --again" in repeated


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_the_only_model_that_cannot_be_loaded_is_an_error_and_not_left_out(terminal):
    draw(terminal.folder / "tower.jpg", 0)
    refused = terminal.run("predict", "tower.jpg", "--device", "cuda", code=1).stderr.splitlines()
    assert [line.partition(":")[0] for line in refused] == ["error"]


@pytest.mark.parametrize("backend", ["torchscript", "openvino-int8"])
def test_predict_shows_the_same_as_tag_stores_and_stores_nothing(terminal, backend):
    if backend == "openvino-int8":  # only the shipped model has ranges
        del terminal.environment["TAGGER_MODEL"]
    terminal.environment["TAGGER_BACKEND"] = backend
    photo = draw(terminal.folder / "photos" / "a.jpg", 2)
    os.utime(photo, (2**34, 2**34))  # in the year 2514, which no database holds
    predicted = terminal.json("predict", "photos/a.jpg")[0]
    tags = terminal.json("predict", "photos/a.jpg", "--top-k", "3", "--threshold", "0")[0]["tags"]
    assert [tag["accepted"] for tag in tags] == [True] * 3
    piped = json.loads(terminal.run("predict", "-", "--json", stdin=photo.read_bytes()).stdout)[0]
    assert piped["tags"] == predicted["tags"]
    assert terminal.json("query", "--any-rank") == []
    assert [terminal.json("tag", "photos")["skipped"] for _ in range(2)] == [0, 1]
    for stored, tag in zip(terminal.json("show", "photos/a.jpg")["tags"], predicted["tags"], strict=True):
        assert [stored[key] for key in ("landmark", "rank", "accepted")] == [
            tag[key] for key in ("landmark", "rank", "accepted")
        ]
        assert stored["score"] == pytest.approx(tag["score"])
    # A missing file is named before a model is read.
    missing = terminal.run("predict", "photos/a.jpg", "photos/b.jpg", "--model", "none", code=1).stderr
    assert "no file or folder at photos/b.jpg" in missing


def test_a_model_that_is_not_there_is_called_what_it_was_meant_as(terminal):
    draw(terminal.folder / "photos" / "a.jpg", 0)
    for model, said in (
        ("nothere.pt", "There is no model file nothere.pt. Check the name"),
        ("models/nothere", "There is no model file models/nothere. Check the name"),
        ("nothere", "No model is registered as nothere (registered: "),
    ):
        for command in ("predict photos/a.jpg --model", "backfill all --model", "model show"):
            assert f"error: {said}" in terminal.run(*command.split(), model, code=1).stderr, command


def test_every_command_says_that_a_part_of_a_photo_is_missing(terminal):
    photo = draw(terminal.folder / "photos" / "cut.jpg", 0, size=(1200, 900))
    photo.write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    missing = "a part of the image is missing"
    predicted = terminal.json("predict", photo)[0]
    assert (predicted["damaged"], predicted["outcome"]) == (True, "unknown")
    assert terminal.run("predict", photo).stdout.endswith(f"  {missing}, so no prediction is accepted\n")
    assert f"unknown ({missing}" in terminal.run("tag", "photos").stdout
    assert terminal.json("show", photo)["damaged"]
    assert missing in terminal.run("show", photo).stdout


def test_an_interrupted_tag_loses_nothing_and_continues(terminal):
    draw_many(terminal.folder / "photos", 80)
    draw(terminal.folder / "photos" / "00" / "00001-hangs.jpg", seed=1000)
    terminal.environment |= {"TAGGER_BATCH_SIZE": "4", "TAGGER_THREADS": "2"}
    terminal.inject(slow_pass_s="0.05", hang_on_open="hangs")
    process = terminal.start("tag", "photos")
    terminal.wait_until(lambda: "photos/" in terminal.log.read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130  # it takes 2 s
    put_back = "what is left was put back, which counts as cancelled; the same command finds it again"
    assert f"interrupted; no work is lost; {put_back}\n" in terminal.log.read_text()
    job = terminal.json("job", "show", "1")
    assert (job["state"], job["note"]) == ("cancelled", f"interrupted; {put_back}")
    assert 0 < job["cancelled"] < 81
    assert job["cancelled"] + job["tagged"] + job["unknown"] == 81
    rest = terminal.json("tag", "photos")
    assert rest["skipped"] == job["tagged"] + job["unknown"]
    assert rest["skipped"] + rest["tagged"] + rest["unknown"] == 81


def test_forget_takes_photos_out_and_leaves_the_files(terminal):
    draw_many(terminal.folder / "photos", 2)
    private = draw(terminal.folder / "photos" / "private" / "a.jpg", 1)
    terminal.run("tag", "photos")
    assert "1 photo would be forgotten" in terminal.run("forget", "photos/private", "--dry-run").stdout
    assert "1 photo forgotten" in terminal.run("forget", "photos/private").stdout
    assert private.exists()
    assert len(terminal.json("query", "--any-rank")) == 2
    assert terminal.json("forget", "photos")["forgotten"] == 2


def test_a_folder_of_raw_photos_is_tagged_by_the_largest_previews(terminal):
    """The small ones show another landmark."""
    drawn = {"large": (colour_of(0), LARGE), "middle": (colour_of(1), MIDDLE)}
    drawn["thumbnail"] = (colour_of(1), THUMBNAIL)
    previews = {
        name: encode_image(Image.new("RGB", size, colour), "JPEG") for name, (colour, size) in drawn.items()
    }
    photos = terminal.folder / "photos"
    photos.mkdir()
    for kind in RAW_KINDS:
        raw = RawContent(**previews, sensor=kind.encode() * 1000)
        (photos / f"IMG_{kind}.{kind.upper()}").write_bytes(raw_file(kind, raw))
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    tagged = terminal.json("tag", "photos")
    assert (tagged["tagged"], tagged["failed"]) == (len(RAW_KINDS), 0)
    found = terminal.json(
        "query", "--landmark", "eiffel-tower", "--taken-after", "2024-05-31", "--near", "48.85,2.29"
    )
    assert {Path(photo["path"]).name for photo in found} == before.keys()
    assert {photo["taken_at"] for photo in found} == {"2024-06-01T12:30:00"}
    assert {path.name: path.read_bytes() for path in photos.iterdir()} == before
