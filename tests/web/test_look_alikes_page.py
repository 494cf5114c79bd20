"""Groups of unknown photos that look alike on the page, and questions which place photos show."""
# ruff: noqa: DTZ001 - cameras know no time zone

import re
from collections.abc import Iterator
from datetime import datetime

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import insert, select, update
from support.browser import axe_findings, open_page, serving
from support.colour_folders import TaggedFolder
from support.teaching import draw_place, draw_sight, teachable_artifact

from tagger.database.tables import landmarks, photos, positions, taught_tags
from tagger.tags.settlement import settle
from tagger.teaching.lessons import update_consequences


@pytest.fixture
def library(web_database, tmp_path) -> TaggedFolder:
    """Five photos of a church and four of a bridge, which the model does not know."""
    library = TaggedFolder(web_database, tmp_path, teachable_artifact)
    for name, place, count in (("church", 0, 5), ("bridge", 1, 4)):
        for seed in range(count):
            draw_place(library.folder / name / f"{seed}.jpg", place, seed=seed)
    library.tag()
    with web_database.write() as connection:
        for name, day in (("church", 3), ("bridge", 4)):
            of_place = photos.c.path.like(f"{name}/%")
            connection.execute(update(photos).where(of_place).values(taken_at=datetime(2025, 10, day, 12)))
    return library


@pytest.fixture
def address(library) -> Iterator[str]:
    with serving(library.page_settings) as url:
        yield url


def numbers(page: Page, query: str) -> set[int]:
    return {photo["id"] for photo in page.request.get(f"/api/photos?{query}").json()["photos"]}


def test_a_group_is_named_or_put_away_at_once(browser, address, library):
    church = [library.photo(f"church/{number}.jpg").id for number in range(5)]
    bridge = {library.photo(f"bridge/{number}.jpg").id for number in range(4)}
    with open_page(browser, f"{address}/review", base=address) as page:
        groups = page.locator("[data-group]")
        expect(groups).to_have_count(2)
        # Which of them is first depends on scores, and so on the processor.
        of_church = groups.filter(has_text="3 October 2025")
        of_bridge = groups.filter(has_text="4 October 2025")
        expect(of_church.get_by_role("heading")).to_have_text("3 October 2025 5 photos")
        expect(of_bridge.get_by_role("heading")).to_have_text("4 October 2025 4 photos")
        assert axe_findings(page) == []
        of_bridge.get_by_role("button", name="Not a landmark").click()
        expect(page.locator("#toasts")).to_contain_text("4 photos put away as not a landmark")
        assert numbers(page, "dismissed=1") == bridge
        page.get_by_role("button", name="Undo").click()
        expect(page.locator("#announcement")).to_have_text("Undone on 4 photos")
        assert numbers(page, "dismissed=1") == set()
        page.locator(f'[data-photo="{church[0]}"] label').click()
        of_church.get_by_role("button", name="Name this place").click()
        page.get_by_label("Landmark, city or country").fill("Our church")
        page.locator("[data-new]").click()
        page.get_by_role("button", name="Add this place").click()
        expect(page.locator("#toasts")).to_contain_text("4 photos named Our church")
        assert numbers(page, "landmark=our-church&verdict=confirmed") == set(church[1:])
        page.reload()
        expect(groups).to_have_count(1)  # the other one has one unknown photo left


def headings_of(page: str) -> list[str]:
    return [
        " ".join(re.sub(r"<[^>]*>", " ", each).split())
        for each in re.findall(r'<h2 id="group-.*?</h2>', page)
    ]


def test_look_alikes_of_a_likely_landmark_are_in_its_group(client, library):
    with library.database.write() as connection:
        bridge = [library.photo(f"bridge/{number}.jpg").id for number in range(4)]
        place = {"latitude": 50.94, "longitude": 6.96, "error_m": 10.0, "source": "camera", "evidence": {}}
        names = {"country": "Germany", "city": "Cologne"}
        connection.execute(insert(positions), [{"photo_id": photo, **place, **names} for photo in bridge])
        landmark_id = connection.scalar(select(landmarks.c.id).limit(1))
        content_ids = connection.scalars(select(photos.c.content_id).where(photos.c.id.in_(bridge[:2]))).all()
        taught = {"landmark_id": landmark_id, "score": 0.5, "model_id": library.model.id}
        connection.execute(insert(taught_tags), [{"content_id": each, **taught} for each in content_ids])
        settle(connection, content_ids, record=False)
        landmark = connection.scalar(select(landmarks.c.slug).where(landmarks.c.id == landmark_id))
    page = client.get("/review").text
    headings = headings_of(page)
    assert re.fullmatch(r"Cologne, 4 October 2025 · .* \? 4 photos", headings[0])
    assert headings[1] == "3 October 2025 5 photos"
    assert page.count(" checked") == 5  # those that nothing is suggested for
    rejected = {"photos": bridge[2:3], "landmark": landmark, "verdict": "rejected"}
    client.post("/api/verdicts", json=rejected)
    named, other = headings_of(client.get("/review").text)
    assert re.fullmatch(r"Cologne, 4 October 2025 · .* \? 3 photos", named)
    assert other == headings[1]


def test_photos_of_several_towns_are_no_place(client, library):
    with library.database.write() as connection:
        for number, city in enumerate(("Cologne", "Rome", "Paris", "Hanoi")):
            place = {"latitude": 50.0, "longitude": 7.0 + number, "error_m": 10.0, "source": "camera"}
            photo = library.photo(f"bridge/{number}.jpg").id
            connection.execute(
                insert(positions), [{"photo_id": photo, **place, "evidence": {}, "city": city}]
            )
    page = client.get("/review").text
    assert "5 photos" in page
    assert "4 photos" not in page


def test_a_question_is_answered_and_undone(browser, web_database, tmp_path):
    library = TaggedFolder(web_database, tmp_path, teachable_artifact)
    draw_sight(library.folder)
    library.tag()
    update_consequences(web_database, library.page_settings.model)
    with (
        serving(library.page_settings) as address,
        open_page(browser, f"{address}/review", base=address) as page,
    ):
        question = page.locator("[data-question]")
        expect(question.get_by_role("heading", level=2)).to_have_text("Colosseum?")
        expect(question.get_by_role("heading", level=3)).to_have_text(["Taken here 5", "Look like these 3"])
        assert axe_findings(page) == []
        struck = question.get_by_role("checkbox").first
        photo_id = int(struck.input_value())
        struck.uncheck(force=True)
        question.get_by_role("button", name="Colosseum").click()
        toasts = page.locator("#toasts")
        expect(toasts).to_contain_text("Found in 3 more photos", timeout=60_000)
        expect(question).to_be_hidden()
        photos = page.request.get("/api/photos?landmark=colosseum&verdict=confirmed").json()["photos"]
        assert len({each["id"] for each in photos} - {photo_id}) == 4
        toasts.get_by_role("button", name="Undo").click()
        expect(question).to_be_visible(timeout=60_000)
        question.get_by_role("button", name="No place").click()
        expect(toasts).to_contain_text("not be asked again")
        page.reload()
        expect(page.locator("[data-question]")).to_have_count(0)
