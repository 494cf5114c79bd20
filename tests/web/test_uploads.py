"""Photos that people send: stored whole or not at all, below one folder, over no other file, and tagged."""

import errno
import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect
from starlette.testclient import TestClient
from support.browser import WINDOW, axe_findings, open_page, serving
from support.page_server import change_settings, client_of_page, photo, served
from support.threads import in_threads, wait_until

from tagger.settings import Settings
from tagger.web import uploads

SENT = {"Content-Type": "image/png"}


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "sent"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(web_settings, folder) -> Settings:
    return web_settings.model_copy(
        update={"web_upload_folder": folder, "web_upload_quota_bytes": 1_000_000, "web_upload_bytes": 500_000}
    )


@pytest.fixture
def sender(settings, web_database) -> Iterator[TestClient]:
    with client_of_page(settings, web_database) as client:
        yield client


def send(client: TestClient, path: str, data: bytes) -> tuple[int, object]:
    response = client.post("/api/uploads", params={"path": path}, content=data, headers=SENT)
    return response.status_code, response.json()


def files(folder: Path) -> dict[str, bytes]:
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


def test_photos_keep_their_names_and_replace_none(sender, folder):
    assert send(sender, "a.png", photo()) == (200, {"path": "a.png", "is_new": True})
    assert send(sender, "Rome/day 1/b.PNG", photo(1))[0] == 200
    assert files(folder) == {"a.png": photo(), "Rome/day 1/b.PNG": photo(1)}
    assert oct((folder / "a.png").stat().st_mode)[-3:] == "644"
    job = sender.post("/api/uploads/tag").json()["job"]
    assert sender.get(f"/api/jobs/{job}").json()["total"] == 2
    send(sender, "a.png", photo())
    assert send(sender, "a.png", photo()) == (200, {"path": "a.png", "is_new": False})
    assert send(sender, "a.png", photo(1)) == (200, {"path": "a-2.png", "is_new": True})
    (folder / "link.png").symlink_to("/etc/hostname")
    assert send(sender, "link.png", photo(2)) == (200, {"path": "link-2.png", "is_new": True})
    assert (folder / "a.png").read_bytes() == photo()


def test_the_thousandth_photo_of_one_name_is_kept(sender, folder, monkeypatch):
    monkeypatch.setattr("tagger.web.uploads.LEAST_BYTES", 1)  # the quota is small here
    folder.mkdir(exist_ok=True)
    for number in ("", *(f"-{number}" for number in range(2, 1000))):
        (folder / f"image{number}.png").write_bytes(b"x")
    assert send(sender, "image.png", photo()) == (200, {"path": "image-1000.png", "is_new": True})


def test_photos_of_one_name_that_arrive_together_are_all_kept_and_one_photo_once(sender, folder):
    in_threads([partial(send, sender, "same.png", photo(None, shade=n)) for n in range(6)])
    assert set(files(folder).values()) == {photo(None, shade=n) for n in range(6)}
    in_threads([partial(send, sender, "new/same.png", photo())] * 8)
    assert files(folder / "new") == {"same.png": photo()}


def test_a_disk_without_links_keeps_each_file(sender, folder, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert send(sender, "a.png", photo()) == (200, {"path": "a.png", "is_new": True})
    assert send(sender, "a.png", photo(1)) == (200, {"path": "a-2.png", "is_new": True})
    assert files(folder) == {"a.png": photo(), "a-2.png": photo(1)}


def test_a_server_that_is_killed_while_it_names_a_photo_leaves_no_empty_one(
    settings, web_database, folder, monkeypatch
):
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", die)  # a name that exists before its content
    with client_of_page(settings, web_database) as client:
        assert send(client, "a.png", photo())[0] == 200
    assert files(folder) == {"a.png": photo()}


def test_names_as_systems_and_people_give_them_are_kept(sender, folder):
    names = (
        "Screenshot 9.41\u202fAM.png",
        "caf\u00e9\u00a0!.png",
        "\U0001f468\u200d\U0001f469.png",
        "\u0645\u06cc\u200c.png",
        "%2e%2e.png",
    )
    for name in names:
        assert send(sender, name, photo()) == (200, {"path": name, "is_new": True})
    assert sorted(files(folder)) == sorted(names)


def test_names_that_lead_elsewhere_are_refused(sender, folder):
    for path in ELSEWHERE:
        assert send(sender, path, photo())[0] in {400, 422}, path
    assert sender.post("/api/uploads?path=%ff.png", content=photo(), headers=SENT).status_code == 400
    assert files(folder) == {}
    assert list(folder.parent.glob("*.png")) == []


ELSEWHERE = (
    "../a.png",
    "/etc/a.png",
    "a/../../b.png",
    ".hidden.png",
    "x\x00.png",
    "a\nb.png",
    "..",
    "~/a.png",
    "\\\\host\\a.png",
    "a/.ssh/b.png",
    "n" * 300 + ".png",
    "/".join("abcdefghijk") + ".png",
    "\u202egnp.a.png",
    "a\u2028b.png",
    "a\u0085b.png",
    "a.png/..",
    "a\u200e.png",
)


@pytest.mark.parametrize(
    ("name", "letter"), [("a\u200bb.png", "U+200B"), ("~a.png", "~"), ("a\tb.png", "U+0009")]
)
def test_a_refused_name_says_which_letter_is_at_fault(sender, name, letter):
    status, answer = send(sender, name, photo())
    assert (status, f"The letter “{letter}”" in str(answer)) == (422, True)


def test_side_files_are_stored_with_the_photos_they_belong_to(sender, folder):
    stated, other = (
        b'{"photoTakenTime": {"timestamp": "1563140283"}}',
        b'{"photoTakenTime": {"timestamp": "9"}}',
    )
    for name, data in (("new/a.png.json", stated), ("a.png.json", stated)):
        assert send(sender, name, data)[0] == 415
    assert list(folder.iterdir()) == []
    send(sender, "a.png", photo())
    for name in ("b.png.json", "metadata.json", "a.png.txt"):
        assert send(sender, name, stated)[0] == 415
    assert send(sender, "a.xmp", b"<x:xmpmeta tiff:Orientation")[0] == 415
    assert send(sender, "a.png.json", stated) == (200, {"path": "a.png.json", "is_new": True})
    assert send(sender, "a.png.json", stated) == (200, {"path": "a.png.json", "is_new": False})
    status, answer = send(sender, "a.png.json", other)
    assert (status, "belongs to no photo that was sent, or the photo has another one" in str(answer)) == (
        409,
        True,
    )
    assert files(folder) == {"a.png": photo(), "a.png.json": stated}


NO_PHOTOS = (
    ("a.exe", photo(), 415, ""),
    ("a.svg", b"<svg/>", 415, ""),
    ("a.png", b"<script>", 415, ""),
    ("a.png", b"", 415, ""),
    ("a.jpg", b"\xff\xd8\xff", 415, "has no image in it"),
    ("a.png", photo()[:8], 415, ""),
    ("a.png", photo() + b"0" * 600_000, 413, ""),
)


def test_refused_photos_and_photos_below_a_file_leave_nothing(sender, folder):
    for name, data, status, reason in NO_PHOTOS:
        refused, answer = send(sender, f"new/{name}", data)
        assert (refused, reason in str(answer)) == (status, True), name
        assert list(folder.iterdir()) == []
    send(sender, "a.png", photo())
    status, answer = send(sender, "a.png/b.png", photo(1))
    assert (status, "Rename it" in str(answer)) == (422, True)
    assert list(files(folder)) == ["a.png"]


@pytest.mark.parametrize(
    "path",
    ["@eaDir/a.png", "Rome/@EADIR/b/a.png", "#recycle/a.png", "$RECYCLE.BIN/S-1-5/a.png", "a.lrdata/b.png",
     "lost+found/a.png", "P.photoslibrary/resources/a.png", "kept out/sub/a.png"],
)  # fmt: skip
def test_a_photo_for_a_folder_that_scans_leave_out_is_refused_with_the_reason(sender, folder, path):
    (folder / "kept out").mkdir()
    (folder / "kept out" / ".nomedia").touch()
    status, answer = send(sender, path, photo())
    assert (status, "Scans leave out the folder" in str(answer)) == (422, True)
    assert list(files(folder)) == ["kept out/.nomedia"]


@pytest.mark.parametrize("path", ["thumbs/a.png", "trash/a.png", "P.photoslibrary/originals/a.png"])
def test_a_folder_that_only_beside_others_belongs_to_a_program_takes_photos(sender, folder, path):
    assert send(sender, path, photo()) == (200, {"path": path, "is_new": True})
    job = sender.post("/api/uploads/tag").json()["job"]
    assert sender.get(f"/api/jobs/{job}").json()["total"] == 1


def test_a_link_below_the_folder_is_not_followed(sender, folder, tmp_path):
    (tmp_path / "secret").mkdir()
    (folder / "out").symlink_to(tmp_path / "secret")
    assert send(sender, "out/a.png", photo())[0] == 422
    assert list((tmp_path / "secret").iterdir()) == []


def test_the_quota_counts_what_is_there_and_what_was_refused_does_not_count(sender, folder, monkeypatch):
    (folder / "there.bin").write_bytes(bytes(600_000))
    large = photo() + bytes(300_000)
    for _ in range(3):
        assert send(sender, "a.txt.exe", large)[0] == 415
    assert send(sender, "a.png", large)[0] == 200
    assert send(sender, "b.png", large)[0] == 507
    assert send(sender, "c.png", photo())[0] == 200
    assert set(files(folder)) == {"there.bin", "a.png", "c.png"}
    (folder / "there.bin").unlink()
    assert send(sender, "d.png", large)[0] == 200
    (folder / "there.bin").write_bytes(bytes(390_000))
    monkeypatch.setattr(uploads, "MEASURED_FOR_S", 0.0)  # what another process stores counts after a minute
    assert send(sender, "e.png", photo() + bytes(20_000))[0] == 507


def test_small_files_and_folders_count_as_the_space_that_they_take(settings, web_database, folder):
    (folder / "there" / "empty").mkdir(parents=True)
    (folder / "there" / "small.txt").touch()
    limited = settings.model_copy(update={"web_upload_quota_bytes": 10 * uploads.LEAST_BYTES})
    with client_of_page(limited, web_database) as client:
        assert send(client, "a.png", photo())[0] == 200  # the fourth
        assert send(client, "a.png", photo()) == (200, {"path": "a.png", "is_new": False})
        assert send(client, "no.png", b"no photo")[0] == 415
        assert send(client, "1/2/3/4/b.png", photo(1))[0] == 200  # the ninth
        assert send(client, "c.png", photo(2))[0] == 200
        assert send(client, "d.png", photo(3))[0] == 507


def test_photos_that_arrive_together_stay_within_the_quota(sender, folder):
    large = photo() + bytes(300_000)
    in_threads([partial(send, sender, f"{n}.png", large) for n in range(8)])
    assert sum(map(len, files(folder).values())) <= 1_000_000
    assert set(files(folder).values()) <= {large}
    assert send(sender, "small.png", photo())[0] == 200


def test_broken_lines_and_killed_servers_leave_nothing(settings, web_database, folder):
    with served(settings, web_database) as port:
        with socket.create_connection(("127.0.0.1", port)) as line:
            head = f"POST /api/uploads?path=a.png HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: image/png\r\n"
            line.sendall(head.encode() + b"Content-Length: 5000\r\n\r\n" + photo()[:100])
            wait_until(lambda: any(folder.iterdir()))
        wait_until(lambda: not any(folder.iterdir()))
    leftover = folder / f".tagger-{'0' * 32}.part"
    leftover.write_bytes(b"half")
    with client_of_page(settings, web_database) as client:
        assert send(client, "b.png", photo())[0] == 200
    assert [each.name for each in folder.iterdir()] == ["b.png"]


def test_admins_send_unless_the_page_has_named_folders(client, web_settings, tmp_path):
    assert "data-uploads-here" in client.get("/jobs/new").text
    assert send(client, "a.png", photo()) == (200, {"path": "a.png", "is_new": True})
    assert files(web_settings.data_folder / "sent") == {"a.png": photo()}
    change_settings(client, web_folders=(tmp_path,))
    assert "data-uploads" not in client.get("/jobs/new").text
    assert send(client, "a.png", photo())[0] == 404


def drop(page: Page, name: str, data: bytes) -> None:
    page.evaluate(
        """([name, bytes]) => {
          const data = new DataTransfer();
          data.items.add(new File([Uint8Array.from(bytes)], name));
          document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
        }""",
        [name, list(data)],
    )


def test_photos_are_chosen_or_dropped_on_a_line_that_breaks(browser, settings, web_database, folder):
    attempts: list[str] = []

    def break_once(route: Route) -> None:
        attempts.append(route.request.url)
        route.abort() if len(attempts) == 1 else route.continue_()

    (folder / "a.png").write_bytes(photo(2))  # another photo of this name
    limited = settings.model_copy(update={"web_upload_bytes": 2**20})
    with serving(limited) as address, browser.new_context(base_url=address) as context:
        page = context.new_page()
        page.goto("/jobs/new")
        page.route("**/api/uploads?*", break_once)
        assert axe_findings(page) == []
        page.get_by_label("Choose photos").set_input_files(
            [
                {"name": "a.png.json", "mimeType": "application/json", "buffer": b"{}"},
                {"name": "a.png", "mimeType": "image/png", "buffer": photo()},
                {"name": "b.txt", "mimeType": "text/plain", "buffer": b"text"},
                {"name": "film.mp4", "mimeType": "video/mp4", "buffer": bytes(2**20 + 1)},
                {"name": ".DS_Store", "mimeType": "text/plain", "buffer": b"of a Mac"},
            ]
        )
        expect(page.locator("[data-uploads-here]")).to_contain_text("1 of 4 · Connection lost. Trying again…")
        expect(page.locator("[data-uploads-here] [role=status]")).to_contain_text(
            "1 photo sent · No worker is running", timeout=20_000
        )
        expect(page.locator(".toast--bad")).to_contain_text("2 files were not sent")
        expect(page.locator(".toast--bad")).to_contain_text("b.txt: This file is no photo")
        expect(page.locator(".toast--bad")).to_contain_text("film.mp4: Files of more than 1 MB")
        expect(page.locator(".toast--bad").get_by_role("button", name="Send again")).to_have_count(0)
        page.unroute_all()
        page.goto("/map")  # photos are dropped on any page
        drop(page, "c.png", photo(1))
        expect(page.locator(".toast")).to_contain_text("1 photo sent · ", timeout=20_000)
        wait_until(lambda: set(files(folder)) == {"a.png", "a-2.png.json", "a-2.png", "c.png"})


@pytest.mark.slow
def test_what_a_broken_line_did_not_carry_is_sent_again(browser, settings, web_database, folder):
    with serving(settings) as address, browser.new_context(base_url=address) as context:
        page = context.new_page()
        page.clock.install()
        page.goto("/jobs/new")
        page.route("**/api/uploads?*", lambda route: route.abort())
        data = {"name": "a.png", "mimeType": "image/png", "buffer": photo()}
        page.get_by_label("Choose photos").set_input_files([data])
        again = page.get_by_role("button", name="Send again")
        for _ in range(1000):
            if again.is_visible():
                break
            page.clock.fast_forward(20_000)  # to the next attempt
        page.unroute_all()
        again.click()
        wait_until(lambda: files(folder) == {"a.png": photo()})


@pytest.mark.slow
def test_a_file_dropped_where_nothing_takes_it_does_not_replace_the_page(browser, settings, web_database):
    drag = """(element) => {
      const data = new DataTransfer();
      data.items.add(new File(["x"], "a.png"));
      const event = new DragEvent("dragover", { dataTransfer: data, bubbles: true, cancelable: true });
      element.dispatchEvent(event);
      return event.defaultPrevented;
    }"""
    with serving(settings) as address:
        with open_page(browser, f"{address}/map", screen=WINDOW) as page:
            assert page.locator("main").evaluate(drag)
        with open_page(browser, f"{address}/try", screen=WINDOW) as page:
            assert not page.locator("input[type=file]").first.evaluate(drag)
