"""Static files at addresses that browsers can cache for ever."""

import re

from starlette.testclient import TestClient


def test_all_scripts_of_a_page_are_requested_at_once_and_cached_for_ever(client: TestClient) -> None:
    page = client.get("/photos?any_rank=1").text
    addresses = re.findall(r'"(/static/scripts-\w+/\w+\.js)"', page)
    names = {address.rpartition("/")[2] for address in addresses}
    assert {"grid.js", "grid_tiles.js", "elements.js"} < names
    for address in set(addresses):
        script = client.get(address)
        assert "immutable" in script.headers["cache-control"]
        assert set(re.findall(r'(?:from|import) "\./(\w+\.js)"', script.text)) <= names


def test_a_page_from_before_an_update_gets_the_scripts_of_now(client: TestClient) -> None:
    script = client.get(f"/static/scripts-{16 * '0'}/toast.js")
    assert script.text == client.get("/static/toast.js").text
    assert script.headers["cache-control"] == "no-cache"
