"""Naming, learning and comparing places on the page, with a model that gives embeddings."""

from collections.abc import Iterator

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Response, expect
from sqlalchemy import delete, insert, select, update
from support.browser import open_page, serving
from support.colour_folders import TaggedFolder
from support.library_photos import EIFFEL
from support.teaching import draw_place, teachable_artifact
from support.threads import wait_until

from tagger.database.tables import contents, embeddings, landmarks, models, positions, tags
from tagger.tags.settlement import settle

CHURCH, SIDE, PHOTOS = 0, 1, 6


@pytest.fixture
def library(web_database, tmp_path) -> TaggedFolder:
    """Photos of an unknown church, more and more of its side, which looks like another place, and others."""
    library = TaggedFolder(web_database, tmp_path, teachable_artifact)
    for seed in range(PHOTOS):
        draw_place(library.folder / "church" / f"{seed}.jpg", CHURCH, seed=seed)
    (library.folder / "side").mkdir()
    for percent in (62, 63, 64, 65, 66, 80, 90):
        front, side = (Image.open(draw_place(tmp_path / f"{place}.jpg", place)) for place in (CHURCH, SIDE))
        Image.blend(front, side, percent / 100).save(library.folder / "side" / f"{percent}.jpg", quality=95)
    for place in range(10, 16):
        draw_place(library.folder / "others" / f"{place}.jpg", place)
    library.tag()
    return library


@pytest.fixture
def address(library) -> Iterator[str]:
    with serving(library.page_settings) as url:
        yield url


def open_new_place(page: Page, library: TaggedFolder, count: int) -> None:
    """Tick some photos of the church, and open the form that adds a place."""
    page.goto(f"/photos/{library.photo('church/0.jpg').id}/similar")
    for number in range(1, count + 1):
        page.locator(f'[data-photo="{library.photo(f"church/{number}.jpg").id}"] label').click()
    page.get_by_role("button", name="Name this place").click()
    page.get_by_label("Landmark, city or country").fill("Our church")
    page.locator("[data-new]").click()


def name_church(page: Page, library: TaggedFolder, count: int) -> None:
    open_new_place(page, library, count)
    page.get_by_role("button", name="Add this place").click()
    expect(page.locator("#toasts")).to_contain_text(f"{count} photos named Our church")


def test_a_place_is_named_at_the_position_of_its_photos_learned_and_reviewed(browser, address, library):
    arles = {"latitude": 43.6776, "longitude": 4.6309, "error_m": 10.0, "source": "camera", "evidence": {}}
    with library.database.write() as connection:
        photos = [library.photo(f"church/{number}.jpg").id for number in range(1, 4)]
        connection.execute(insert(positions), [{"photo_id": photo, **arles} for photo in photos])
    with open_page(browser, address, base=address) as page:
        open_new_place(page, library, 3)
        expect(page.get_by_label("City or coordinates")).to_have_value("43.6776, 4.6309")
        page.get_by_role("button", name="Add this place").click()
        expect(page.locator("#toasts")).to_contain_text("3 photos named Our church", timeout=30_000)
        places = {each["name"]: each for each in page.request.get("/api/landmarks?all=true").json()}
        church = places["Our church"]
        assert (church["city"], church["latitude"]) == ("Arles", arles["latitude"])
        found = page.locator("#toasts a", has_text="Found in ")
        expect(found).to_be_visible()
        expect(page.locator("#toasts img").first).to_have_js_property("complete", value=True)
        found.click()
        page.wait_for_url("**/landmarks/our-church")
        expect(page.get_by_role("heading", name="Our church")).to_be_visible()
        expect(page.locator(".learning")).to_contain_text("Learned from 3 photos, found in ")
        to_review = page.locator(".learning a", has_text="to review")
        suggested = int(to_review.inner_text().split()[0])
        to_review.click()
        expect(page.locator("[data-card]")).to_have_count(suggested)
        page.wait_for_load_state()  # the script listens from then on
        page.get_by_role("button", name="One by one").click()
        page.keyboard.press("c")
        expect(page.locator("#toasts")).to_contain_text("1 photo confirmed as Our church")


def test_a_list_follows_what_is_named_elsewhere_and_undo_leaves_no_place(browser, address, library):
    with open_page(browser, address, base=address) as page:
        other = page.context.new_page()
        other.goto("/photos?unknown=1")
        total = int(other.locator("[data-grid][data-drawn]").get_attribute("data-total") or 0)
        name_church(page, library, 3)
        expect(page.locator("#toasts a", has_text="Found in ")).to_be_visible()
        other.bring_to_front()
        other.get_by_role("button", name="Show what has changed").click(timeout=30_000)
        expect(other.locator("[data-grid][data-drawn]")).not_to_have_attribute("data-total", str(total))
        page.bring_to_front()
        page.locator("#toasts").get_by_role("button", name="Undo").click()
        expect(page.locator("#announcement")).to_have_text("Undone on 3 photos")
        names = [each["name"] for each in page.request.get("/api/landmarks?all=true").json()]
        assert "Our church" not in names


@pytest.mark.slow
def test_the_undo_of_a_later_naming_leaves_the_place_that_was_added(browser, address, library):
    failed: list[str] = []
    with open_page(browser, address, base=address) as page:
        page.on("response", lambda answer: failed.append(answer.url) if answer.status >= 400 else None)
        name_church(page, library, 2)
        page.locator(f'[data-photo="{library.photo("church/3.jpg").id}"] label').click()
        page.get_by_role("button", name="Name this place").click()
        page.get_by_label("Landmark, city or country").fill("Our church")
        page.locator("[data-results] button").first.click()
        expect(page.locator("#toasts")).to_contain_text("1 photo named Our church")
        page.locator("#toasts").get_by_role("button", name="Undo").last.click()
        expect(page.locator("#announcement")).to_have_text("Undone on 1 photo")
        page.wait_for_load_state("networkidle")
        names = [each["name"] for each in page.request.get("/api/landmarks?all=true").json()]
        assert "Our church" in names
    assert failed == []


@pytest.fixture
def to_review(web_database, tmp_path) -> TaggedFolder:
    """Photos on which the model suggests two of its landmarks; those of the tower cannot be compared."""
    library = TaggedFolder(web_database, tmp_path, teachable_artifact)
    for label in range(2):
        for shade in range(PHOTOS):
            library.draw(f"{label}-{shade}.jpg", label, shade=shade)
    library.tag()
    with web_database.write() as connection:
        connection.execute(update(models).values(suggestion_threshold=0.3))
        connection.execute(update(tags).where(tags.c.rank == 1).values(score=0.4, enough=False))
        tower = select(tags.c.content_id).where(tags.c.rank == 1).join(landmarks)
        of_tower = tower.where(landmarks.c.slug == EIFFEL)
        connection.execute(delete(embeddings).where(embeddings.c.content_id.in_(of_tower)))
        settle(connection, connection.scalars(select(contents.c.id)).all(), record=False)
    return library


def numbers_of(page: Page) -> dict[str, int]:
    """The numbers that a page of Review shows: in its navigation, and of each group that is not done."""
    groups = page.locator("[data-group]").evaluate_all(
        """(groups) => groups.map((group) => [group.dataset.name, group.querySelector("[data-photos]").textContent])"""
    )
    texts = dict(groups)
    badge = page.locator(".nav-count")
    if badge.is_visible():
        texts["badge"] = badge.inner_text()
    numbers = {name: int(text.split()[0]) for name, text in texts.items()}
    return {name: number for name, number in numbers.items() if number}


def test_no_request_of_a_review_fails_and_its_numbers_are_the_servers(browser, to_review):
    failed: list[str] = []
    taught: list[str] = []

    def record(response: Response) -> None:
        if response.status >= 400:
            failed.append(f"{response.status} {response.request.method} {response.url}")
        if response.url.endswith("/teach"):
            taught.append(response.url)

    with (
        serving(to_review.page_settings) as address,
        open_page(browser, f"{address}/review", base=address) as page,
    ):
        page.on("response", record)
        other = page.context.new_page()
        other.on("response", record)

        def expect_numbers(tower: int, gate: int) -> None:
            expected = {"Eiffel Tower": tower, "Brandenburg Gate": gate, "badge": tower + gate}
            expected = {name: number for name, number in expected.items() if number}
            wait_until(lambda: numbers_of(page) == expected, timeout_s=30, every_s=0.2)

        def agrees_with_the_server() -> bool:
            other.goto("/review")
            return numbers_of(other) == numbers_of(page)

        def expect_those_of_the_server() -> None:
            wait_until(agrees_with_the_server, timeout_s=30)  # the page counts before the server does

        def group(name: str) -> Locator:
            return page.locator(f'[data-group][data-name="{name}"]')

        def act(name: str, action: str) -> None:
            group(name).locator(f'[data-action="{action}"]').click()

        expect_numbers(PHOTOS, PHOTOS)
        for name in ("Eiffel Tower", "Brandenburg Gate"):
            group(name).get_by_label("Select all").check()
        group("Eiffel Tower").locator("[data-card] label").first.click()
        # Five of the tower, which cannot be compared, and back
        act("Eiffel Tower", "confirm")
        expect(page.locator("#toasts")).to_contain_text("5 photos confirmed as Eiffel Tower")
        expect_numbers(1, PHOTOS)
        expect_those_of_the_server()
        page.keyboard.press("u")
        expect(page.locator("#announcement")).to_have_text("Undone on 5 photos")
        expect_numbers(PHOTOS, PHOTOS)
        # All of the gate, from which it is learned, and back
        act("Brandenburg Gate", "confirm")
        expect(page.locator("#toasts")).to_contain_text("6 photos confirmed as Brandenburg Gate")
        expect_numbers(PHOTOS, 0)
        expect_those_of_the_server()
        page.locator("#toasts").get_by_role("button", name="Undo").click()
        expect(page.locator("#announcement")).to_have_text("Undone on 6 photos")
        expect_numbers(PHOTOS, PHOTOS)
        # The ticked one of a group is rejected; then the group before, one by one
        all_of_tower = group("Eiffel Tower").get_by_label("Select all")
        all_of_tower.check()
        all_of_tower.uncheck()
        group("Eiffel Tower").locator("[data-card] label").first.click()
        act("Eiffel Tower", "reject")
        expect_numbers(PHOTOS - 1, PHOTOS)
        all_of_tower.check()
        page.get_by_role("button", name="One by one").click()
        page.keyboard.press("c")
        expect_numbers(PHOTOS - 1, PHOTOS - 1)
        page.keyboard.press("u")
        expect_numbers(PHOTOS - 1, PHOTOS)
        for key in "crxs":
            page.keyboard.press(key)
        expect_numbers(PHOTOS - 1, PHOTOS - 3)
        expect_those_of_the_server()
        page.keyboard.press("Escape")
        # All that is ticked in both groups
        page.get_by_role("button", name="Confirm all").click()
        expect_numbers(0, 0)
        page.keyboard.press("u")
        expect_numbers(PHOTOS - 1, PHOTOS - 3)
        expect_those_of_the_server()
    assert failed == []
    assert len(taught) >= 2


def test_without_embeddings_the_page_says_that_photos_cannot_be_compared(client, web_database, tmp_path):
    folder = tmp_path / "plain"
    folder.mkdir()
    library = TaggedFolder(web_database, folder)
    library.draw("tower.jpg")
    library.tag()
    assert "Photos cannot be compared" in client.get("/photos/1/similar").text
