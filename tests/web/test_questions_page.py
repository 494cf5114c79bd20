"""Questions which place photos show on the page: photos are struck out, an answer finds others, and is undone."""

from playwright.sync_api import expect
from support.browser import axe_findings, open_page, serving
from support.colour_folders import TaggedFolder
from support.teaching import draw_sight, teachable_artifact

from tagger.teaching.lessons import update_consequences

SLOW_MS = 60_000


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
        expect(toasts).to_contain_text("Found in 3 more photos", timeout=SLOW_MS)
        expect(question).to_be_hidden()
        photos = page.request.get("/api/photos?landmark=colosseum&verdict=confirmed").json()["photos"]
        assert len({each["id"] for each in photos} - {photo_id}) == 4
        toasts.get_by_role("button", name="Undo").click()
        expect(question).to_be_visible(timeout=SLOW_MS)
        question.get_by_role("button", name="No place").click()
        expect(toasts).to_contain_text("not be asked again")
        page.reload()
        expect(page.locator("[data-question]")).to_have_count(0)
