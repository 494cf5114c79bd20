"""Who may ask for what: this machine without a token, others with one, and never another site's page."""

import logging
import re
from pathlib import Path

import httpx2 as httpx
import pytest
from starlette.testclient import TestClient
from support.page_server import LOCAL_URL, TOKEN, VIEW_TOKEN, photo

from tagger.texts.addresses import is_loopback
from tagger.web.access import ATTEMPT_WINDOW_S, MAX_ATTEMPTS, AccessPolicy, AttemptLimiter, TooManyAttempts
from tagger.web.api.jobs import MAX_LISTENERS
from tagger.web.app import MAX_ADDRESS_BYTES
from tagger.web.routes import DOCUMENT_HEADERS, SECURITY_HEADERS
from tagger.web.state import SPOOLED_UPLOADS
from tagger.web.templating import with_code
from tagger.web.uploads import SMALL_BYTES

PNG = {"content-type": "image/png"}
BEARER = {"authorization": f"Bearer {TOKEN}"}
PAGE = {"accept": "text/html"}


def cookie_name(client: TestClient) -> str:
    name: str = client.app.state.authenticator._cookie
    return name


def sign_in(client: TestClient, token: str = TOKEN, **form: str) -> httpx.Response:
    return client.post("/sign-in", data={"token": token, **form}, headers={"origin": LOCAL_URL})


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "[::1]:8080", "LOCALHOST:8080"])
def test_this_machine_is_answered_by_its_own_names(client, host):
    assert client.get("/api/openapi.json", headers={"host": host}).status_code == 200
    assert client.get("/sign-in").status_code == 404


def test_names_that_somebody_else_made_lead_here_and_odd_ones_are_refused(client):
    for host in ("evil.example:8080", "127.0.0.1", "localhost.evil.example:8080", "127.0.0.1.nip.io:8080"):
        for address in ("/", "/api/openapi.json", "/static/app.css"):
            answer = client.get(address, headers={"host": host})
            assert answer.status_code == 421, host
            assert "http://127.0.0.1:8080/" in answer.text
    for host in ("", "a b", "a/b", "a@b:8080", "[::1", "127.0.0.1:8080:8080", "127.0.0.1:port", "<b>"):
        answer = client.get("/", headers={"host": host})
        assert answer.status_code == 400, host
        assert "<b>" not in answer.text
    two = client.get("/", headers=[("host", "127.0.0.1:8080"), ("host", "evil.example")])
    assert two.status_code == 400


def test_addresses_of_the_network_need_a_token_that_is_not_shown():
    assert "localhost" in AccessPolicy("127.0.0.1", 80).hosts
    assert "localhost" not in AccessPolicy("127.0.0.1", 8080).hosts
    with pytest.raises(ValueError, match="token"):
        AccessPolicy("0.0.0.0")
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.2", "example.org", "")))
    assert all(map(is_loopback, ("127.0.0.1", "127.8.8.8", "::1", "localhost")))
    assert TOKEN not in repr(AccessPolicy("0.0.0.0", 8080, TOKEN))


def test_with_a_token_any_name_leads_here(client_of):
    client = client_of("127.0.0.1", TOKEN)
    answer = client.get("/api/openapi.json", headers=BEARER | {"host": "photos.example.org"})
    assert answer.status_code == 200


def test_strangers_reveal_nothing_and_send_no_photo_to_the_page_to_sign_in(client_with_token):
    for address in ("/", "/places", "/api/openapi.json", "/api/predict", "/nothing", "/sign-out"):
        for method in ("GET", "POST", "PUT", "DELETE"):
            answer = client_with_token.request(method, address, headers={"origin": LOCAL_URL})
            assert answer.status_code == 401, address
            assert answer.headers["www-authenticate"] == "Bearer"
    for address in ("/sign-in", "/static/app.css", "/static/app.js"):
        assert client_with_token.get(address).status_code == 200
    form = {"content-type": "multipart/form-data; boundary=x", "origin": LOCAL_URL}
    start = b'--x\r\nContent-Disposition: form-data; name="token"; filename="a"\r\n\r\n'
    for content in (
        start + bytes(SMALL_BYTES),
        iter([start, bytes(SMALL_BYTES)]),
    ):  # with its length and without
        assert client_with_token.post("/sign-in", content=content, headers=form).status_code == 413
    sign_in(client_with_token)
    for address in ("/jobs/", "/api/jobs/", "/static", "/sign-in/"):
        answer = client_with_token.get(address, headers={"host": "evil.example"})
        assert answer.status_code == 404
        assert "evil" not in str(answer.headers)


def test_people_are_led_to_sign_in_and_nowhere_else(client_with_token):
    client = client_with_token
    led = client.get("/places?country=France&q=%C3%A9", headers=PAGE)
    assert led.status_code == 303
    page = client.get(led.headers["location"])
    (back,) = re.findall(r'name="next" value="([^"]*)"', page.text)
    signed_in = sign_in(client, next=back.replace("&amp;", "&"))
    assert signed_in.status_code == 303
    assert signed_in.headers["location"] == "/places?country=France&q=%C3%A9"
    assert client.get("/api/openapi.json").status_code == 200
    for address in (
        *("//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)"),
        *("", "/\t/evil.example", "/a\r\nset-cookie: a=b"),
    ):
        answer = sign_in(client_with_token, next=address)
        assert (answer.status_code, answer.headers["location"]) == (303, "/"), address
        page = client_with_token.get("/sign-in", params={"next": address}).text
        assert 'name="next" value="/"' in page


def test_a_program_sends_the_token_and_wrong_ones_are_none(client_with_token):
    answer = client_with_token.post("/api/predict", content=photo(0), headers=BEARER | PNG)
    assert answer.status_code == 200
    for header, status in (
        (f"bearer {TOKEN}", 200),
        *((odd, 401) for odd in ("Bearer", "Bearer ", TOKEN)),
        *((f"Bearer {wrong}", 401) for wrong in (f"{TOKEN}x", TOKEN[:-1], TOKEN.upper(), "\xe9")),
        (f"Basic {TOKEN}", 401),
    ):
        client_with_token.app.state.authenticator._limiter = AttemptLimiter()
        headers = {"authorization": header.encode("latin-1")}
        assert client_with_token.get("/api/openapi.json", headers=headers).status_code == status, header


def test_the_cookie_is_its_own_and_out_of_reach(client_with_token):
    output = sign_in(client_with_token).headers["set-cookie"]
    assert TOKEN not in output
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(output.split("; "))
    assert "Secure" not in output
    name = cookie_name(client_with_token)
    cookies = {}
    for token in (TOKEN, VIEW_TOKEN):
        sign_in(client_with_token, token)
        cookies[token] = client_with_token.cookies[name]
        client_with_token.cookies.clear()
    both = {"cookie": f"{name}={cookies[VIEW_TOKEN]}; __Host-{name}={cookies[TOKEN]}"}
    assert "read-only" not in client_with_token.get("/places", headers=both).text


def test_cookie_travels_over_tls_only_where_the_browser_speaks_it(client_with_token):
    origin = {"origin": "https://127.0.0.1:8080"}
    output = client_with_token.post("/sign-in", data={"token": TOKEN}, headers=origin).headers["set-cookie"]
    assert {"Secure", "Path=/", "HttpOnly", "SameSite=lax"} <= set(output.split("; "))
    assert output.startswith(f"__Host-{cookie_name(client_with_token)}=")
    assert "domain" not in output.lower()
    cookie = {"cookie": output.partition(";")[0]}
    client_with_token.cookies.clear()
    assert client_with_token.get("/api/openapi.json", headers=cookie).status_code == 200
    signed_out = client_with_token.post("/sign-out", headers=cookie | origin)
    assert "Secure" in next(line for line in signed_out.headers.get_list("set-cookie") if "__Host-" in line)


def test_tampered_sessions_are_refused(client_with_token):
    sign_in(client_with_token)
    name = cookie_name(client_with_token)
    session = client_with_token.cookies[name]
    client_with_token.cookies.clear()
    other_end = session[:-1] + ("A" if session[-1] != "A" else "B")
    end, signature = session.split(".")
    later = f"{int(end) + 1}.{signature}"
    for cookie, status in (
        *((later, 401), (f"{end}.", 401), (end, 401), (signature, 401)),
        *((f"{session}x", 401), (session[:-1], 401), (other_end, 401), (session.swapcase(), 401)),
        *(("", 401), ("\xff" * 43, 401), ("a" * 43, 401), ("a" * 4000, 401), (TOKEN, 401), (session, 200)),
    ):
        headers = {"cookie": f"{name}={cookie}".encode("latin-1")}
        assert client_with_token.get("/api/openapi.json", headers=headers).status_code == status


def test_signing_out_takes_the_cookie_from_this_browser(client_with_token):
    name = cookie_name(client_with_token)
    sign_in(client_with_token)
    signed_out = client_with_token.post("/sign-out", headers={"origin": LOCAL_URL})
    assert signed_out.status_code == 303
    assert signed_out.headers["clear-site-data"] == '"cache"'  # thumbnails, which browsers keep for a year
    assert name not in client_with_token.cookies
    assert client_with_token.get("/api/openapi.json").status_code == 401


def test_guessing_is_slow_and_does_not_end_sessions(client_with_token):
    sign_in(client_with_token)
    session = client_with_token.cookies[cookie_name(client_with_token)]
    for _ in range(MAX_ATTEMPTS):
        assert sign_in(client_with_token, "a-wrong-token-of-16").status_code == 403
    refused = sign_in(client_with_token)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == str(ATTEMPT_WINDOW_S)
    assert client_with_token.get("/api/openapi.json").status_code == 200
    assert client_with_token.cookies[cookie_name(client_with_token)] == session
    client_with_token.cookies.clear()
    assert client_with_token.get("/api/openapi.json", headers=BEARER).status_code == 429


def test_failures_are_forgotten_and_counted_by_address():
    now = [0.0]
    failures = AttemptLimiter(clock=lambda: now[0])
    for _ in range(MAX_ATTEMPTS):
        failures.check("one")
        failures.record("one")
    with pytest.raises(TooManyAttempts):
        failures.check("one")
    failures.check("another")
    now[0] = ATTEMPT_WINDOW_S + 1.0
    failures.check("one")


def test_other_sites_change_nothing_and_may_only_lead_here(client):
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}, {"referer": ""}):
        for address in ("/api/predict", "/anything"):
            answer = client.post(address, content=photo(0), headers=PNG | headers)
            assert answer.status_code == 403, headers
            assert "another site" in answer.text
    two = [("content-type", "image/png"), ("origin", LOCAL_URL), ("origin", "http://evil.example")]
    assert client.post("/api/predict", content=photo(0), headers=two).status_code == 403
    for headers in (
        *({}, {"origin": LOCAL_URL}, {"origin": LOCAL_URL, "sec-fetch-site": "same-origin"}),
        *({"sec-fetch-site": "none"}, {"referer": f"{LOCAL_URL}/jobs?page=2"}),
    ):
        assert client.post("/api/predict", content=photo(0), headers=PNG | headers).status_code == 200
    lead = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/api/openapi.json", headers=lead).status_code == 200
    for mode in ("no-cors", "cors", "websocket"):
        load = {"sec-fetch-site": "cross-site", "sec-fetch-mode": mode}
        assert client.get("/api/openapi.json", headers=load).status_code == 403
    for kind in (None, "application/x-www-form-urlencoded", "TEXT/PLAIN; charset=utf-8"):
        headers = {} if kind is None else {"content-type": kind}
        answer = client.post("/api/predict", content=b'{"a": 1}', headers=headers)
        assert answer.status_code == 415
        assert "application/json" in answer.json()["error"]


def test_photos_are_accepted_only_at_predict_and_answers_not_cached(client):
    whole = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n%s\r\n--x--\r\n'
    for kind in ("image/png", "application/octet-stream", "multipart/form-data; boundary=x"):
        for address in ("/api/verdicts", "/api/jobs", "/jobs/new", "/sign-out"):
            headers = {"content-type": kind}
            answer = client.post(address, content=whole % bytes(SMALL_BYTES), headers=headers)
            assert answer.status_code == 413
    assert client.get("/api/openapi.json").headers["cache-control"] == "private, no-store"
    assert client.get("/no-such-page").headers["cache-control"] == "private, no-store"
    file = client.get("/static/app.css")
    assert file.headers["cache-control"] == "no-cache"
    assert client.get("/static/app.css", headers={"if-none-match": file.headers["etag"]}).status_code == 304
    assert "immutable" in client.get("/static/app.css?v=0123456789abcdef").headers["cache-control"]
    assert client.get("/static/no-such-file?v=1").headers["cache-control"] == "private, no-store"


def test_every_answer_has_security_headers(client):
    client.app.add_api_route("/api/broken", _broken)
    answers = {
        client.get("/api/openapi.json"): 200,
        client.get("/static/icon.svg"): 200,
        client.get("/static/no-such.css"): 404,
        client.get("/no-such-page"): 404,
        client.get("/api/no-such-thing"): 404,
        client.get("/", headers={"host": "evil.example"}): 421,
        client.post("/api/predict", headers={"origin": "null"}): 403,
        client.get("/api/broken"): 500,
        client.options("/api/predict"): 405,
    }
    for answer, status in answers.items():
        assert answer.status_code == status
        assert (SECURITY_HEADERS | DOCUMENT_HEADERS).items() <= dict(answer.headers).items()
        assert "access-control-allow-origin" not in answer.headers
        assert "'unsafe" not in answer.headers["content-security-policy"]
    style = client.get("/static/app.css")
    assert SECURITY_HEADERS.items() <= dict(style.headers).items()
    assert DOCUMENT_HEADERS.keys().isdisjoint(style.headers)


def _broken() -> None:
    raise RuntimeError("a secret: /home/somebody/photos")


def test_unexpected_errors_are_logged_and_not_shown(client, caplog):
    for address in ("/api/broken", "/broken"):
        client.app.add_api_route(address, _broken)
        with caplog.at_level(logging.ERROR):
            answer = client.get(address, headers=PAGE)
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert "RuntimeError" not in answer.text
        assert "a secret" in caplog.text
        caplog.clear()


def test_errors_are_documents_or_pages_with_commands_as_code(client):
    for_program = client.get("/api/<b>nothing</b>")
    assert for_program.json() == {"error": "There is no such page. Check the address."}
    for_person = client.get("/<b>nothing</b>", headers=PAGE)
    assert for_person.headers["content-type"] == "text/html; charset=utf-8"
    assert "There is no such page" in for_person.text
    assert "<b>" not in for_person.text
    assert with_code("run `tagger tag <b>`, & go") == "run <code>tagger tag &lt;b&gt;</code>, &amp; go"
    assert with_code("a lone ` and <b>") == "a lone ` and &lt;b&gt;"
    answer = client.post("/api/predict?top_k=0", content=photo(0), headers=PNG)
    assert answer.status_code == 422
    assert answer.json() == {"error": "top_k: should be greater than or equal to 1."}


def test_an_outage_is_one_line_of_each_route_and_strangers_cause_none(
    client_with_token, web_settings, caplog
):
    file = web_settings.data_folder / "tagger.sqlite"
    file.write_bytes(b"not a database" * 10_000)
    guess = {"authorization": "Bearer a-guess"}
    assert client_with_token.get("/api/photos", headers=guess).status_code == 401
    assert sign_in(client_with_token, "a-guess").status_code == 403
    for _ in range(2):
        assert_outage(client_with_token.get("/api/photos", headers=BEARER))
        assert_outage(sign_in(client_with_token))
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert [line.partition(": ")[0] for line in lines] == [
        "database error in /api/photos",
        "database error in /sign-in",
    ]
    assert all("the database does not answer" in line for line in lines)
    assert not any(record.exc_info for record in caplog.records)


def assert_outage(answer: httpx.Response) -> None:
    assert answer.status_code == 503
    assert "tagger.sqlite" not in answer.text
    assert "malformed" not in answer.text


def test_documented_limits_are_those_of_the_server():
    text = (Path(__file__).parents[2] / "docs" / "how-to" / "serve-the-page.md").read_text()
    for row in (
        f"| address | {MAX_ADDRESS_BYTES // 2**10} KiB |",
        f"| JSON and forms | {SMALL_BYTES // 2**20} MiB |",
        f"| wrong tokens of an address | [{MAX_ATTEMPTS} a minute]",
        f"| pages that follow jobs | {MAX_LISTENERS} |",
    ):
        assert row in text
    assert SPOOLED_UPLOADS == 8  # "eight times"
