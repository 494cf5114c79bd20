"""The account of the person or token that is signed in: role, password, sessions. Part of the application only where people sign in.

A session's browser is named in words, from what it says of itself (User-Agent).
"""

from http import HTTPStatus
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tagger.people.passwords import AttemptsUsedUp, PasswordRefused
from tagger.people.sessions import check_user, end_open_session, list_sessions
from tagger.people.tokens import Grant
from tagger.people.users import find_user, set_password
from tagger.system.text_format import N_, gettext
from tagger.web.http.forwarded import Client
from tagger.web.http.templates import render
from tagger.web.pages.sign_in import HASH_LIMITER
from tagger.web.state import AppState, State

_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("CriOS/", "Chrome"),
    ("Safari/", "Safari"),
)
"""Signs and names. An earlier sign counts: most browsers also name those that they resemble."""
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def browser_name(user_agent: str | None) -> str:
    """Return the browser and its system, like `Firefox on Linux`."""
    text = user_agent or ""
    browser = next((name for sign, name in _BROWSERS if sign in text), gettext("Unknown browser"))
    system = next((name for sign, name in _SYSTEMS if sign in text), None)
    return browser if system is None else gettext("%(browser)s on %(system)s", browser=browser, system=system)


router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

DONE_TEXTS = {
    "password": N_("Your password is changed. Your other sessions are signed out."),
    "session": N_("The session is signed out."),
}
Password = Annotated[str, Form(max_length=1000)]


@router.get("/account")
def show_account(request: Request, state: State, done: str = "") -> HTMLResponse:
    """Show who is signed in, and their sessions."""
    return _render(request, state, done=gettext(DONE_TEXTS[done]) if done in DONE_TEXTS else "")


@router.post("/account/password")
async def change_password(
    request: Request, state: State, current: Password = "", new: Password = "", again: Password = ""
) -> Response:
    """Change the own password, which signs out all other browsers."""

    def change() -> Response:
        return _change_password(request, state, current, new, again)

    return await to_thread.run_sync(change, limiter=HASH_LIMITER)


@router.post("/account/sessions/end")
def end_session(request: Request, state: State, session: Annotated[int, Form(ge=1, lt=2**63)]) -> Response:
    """Sign out one of the own sessions."""
    grant: Grant = request.state.grant
    if grant.user_id is None or not end_open_session(state.database, session, grant.user_id):
        return _render(
            request, state, problem=gettext("This session is over already."), status=HTTPStatus.NOT_FOUND
        )
    return RedirectResponse("/account?done=session", HTTPStatus.SEE_OTHER)


def _change_password(request: Request, state: AppState, current: str, new: str, again: str) -> Response:
    grant: Grant = request.state.grant
    client: Client = request.state.client
    user = None if grant.user_id is None else find_user(state.database, grant.user_id)
    if user is None:
        problem = gettext("A token has no password. Sign in by name to change yours.")
        return _render(request, state, problem=problem, status=HTTPStatus.FORBIDDEN)
    if new != again:
        problem = gettext("The two new passwords differ. Enter the same twice.")
        return _render(request, state, problem=problem, status=HTTPStatus.UNPROCESSABLE_ENTITY)
    try:
        if check_user(state.database, user.name, current, client.network) is None:
            problem = gettext("The current password is wrong.")
            return _render(request, state, problem=problem, status=HTTPStatus.FORBIDDEN)
        set_password(state.database, user.name, new, kept_session=grant.session_id)
    except AttemptsUsedUp as error:
        page = _render(request, state, problem=str(error), status=HTTPStatus.TOO_MANY_REQUESTS)
        page.headers["retry-after"] = str(error.retry_after_s)
        return page
    except PasswordRefused as error:
        return _render(request, state, problem=str(error), status=HTTPStatus.UNPROCESSABLE_ENTITY)
    return RedirectResponse("/account?done=password", HTTPStatus.SEE_OTHER)


def _render(
    request: Request,
    state: AppState,
    *,
    done: str = "",
    problem: str = "",
    status: HTTPStatus = HTTPStatus.OK,
) -> HTMLResponse:
    grant: Grant = request.state.grant
    user = None if grant.user_id is None else find_user(state.database, grant.user_id)
    return render(
        request,
        "account.html",
        status,
        grant=grant,
        user=user,
        sessions=[] if user is None else list_sessions(state.database, user.id),
        browser_name=browser_name,
        done=done,
        problem=problem,
    )
