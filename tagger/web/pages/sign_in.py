"""Signing in with a token, or with a name and a password, signing out, and the own account.

Part of the application only where signing in is required. A session's browser is named in words, from what it
says of itself (User-Agent).
"""

from http import HTTPStatus
from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import AfterValidator, BaseModel, Field

from tagger.people.passwords import AttemptsUsedUp, PasswordRefused
from tagger.people.sessions import check_user, end_open_session, list_sessions
from tagger.people.tokens import Grant
from tagger.people.users import find_user, has_passwords, set_password
from tagger.texts.text_format import N_, gettext
from tagger.web.http.access import Access, requires
from tagger.web.http.attempt_limiter import TooManyAttempts
from tagger.web.http.auth import Authenticator
from tagger.web.http.error_texts import page_text
from tagger.web.http.forwarded import (
    Client,
    delete_session_cookie,
    local_address,
    set_session_cookie,
)
from tagger.web.http.origins import is_by_https
from tagger.web.http.templates import render
from tagger.web.state import AppState, State, app_state

router = APIRouter(include_in_schema=False)

HASH_LIMITER = CapacityLimiter(2)
"""Threads that check passwords, which takes 64 MB each. Requests wait here, not in threads of pages."""


class SignInForm(BaseModel):
    """What was entered: a name and a password, or a token; and the address to continue at."""

    name: Annotated[str, Field(max_length=200)] = ""
    password: Annotated[str, Field(max_length=1000, repr=False)] = ""
    token: Annotated[str, Field(max_length=1000, repr=False), AfterValidator(str.strip)] = ""
    next: Annotated[str, Field(max_length=8192), AfterValidator(local_address)] = "/"

    @property
    def is_by_name(self) -> bool:
        return bool(self.name or self.password)


@router.get("/sign-in")
@requires(Access.ANYBODY)
def show_sign_in(request: Request, next: str = "/") -> Response:  # noqa: A002 - as in the address
    return _show_form(request, SignInForm(next=local_address(next)))


@router.post("/sign-in")
@requires(Access.ANYBODY)
async def sign_in(request: Request, form: Annotated[SignInForm, Form()]) -> Response:
    """Start a session if the name and the password, or the token, are right."""
    return await to_thread.run_sync(_sign_in, request, form, limiter=HASH_LIMITER)


def _sign_in(request: Request, form: SignInForm) -> Response:
    authenticator: Authenticator = request.app.state.authenticator
    client: Client = request.state.client
    browser = request.headers.get("user-agent")
    try:
        if form.is_by_name:
            session = authenticator.sign_in_user(form.name, form.password, client, browser)
        else:
            session = authenticator.sign_in(form.token, client, browser)
    except (TooManyAttempts, AttemptsUsedUp) as error:
        page = _show_form(request, form, str(error), HTTPStatus.TOO_MANY_REQUESTS)
        page.headers["retry-after"] = str(error.retry_after_s)
        return page
    if session is None:
        wrong_name = gettext("The name or the password is wrong.")
        wrong_token = gettext("That is not a valid token. Copy the whole token and try again.")
        problem = wrong_name if form.is_by_name else wrong_token
        return _show_form(request, form, problem, HTTPStatus.FORBIDDEN)
    authenticator.sign_out(request.headers, client)  # the session that this browser had before
    response = RedirectResponse(form.next, HTTPStatus.SEE_OTHER)
    set_session_cookie(response, authenticator.cookie, session, by_https=is_by_https(request))
    return response


def _show_form(
    request: Request, form: SignInForm, problem: str = "", status: HTTPStatus = HTTPStatus.OK
) -> Response:
    return render(
        request,
        "sign_in.html",
        status,
        next=form.next,
        user_name=form.name,
        problem=problem,
        by_name=has_passwords(app_state(request).database),
        with_token=bool(form.token),
    )


@router.post("/sign-out")
@requires(Access.VIEWER)
async def sign_out(request: Request) -> Response:
    """End the session, in this browser and for every copy of its cookie."""
    authenticator: Authenticator = request.app.state.authenticator
    await to_thread.run_sync(authenticator.sign_out, request.headers, request.state.client)
    response = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
    # Browsers keep thumbnails for a year, and the next user could open them by their address.
    response.headers["Clear-Site-Data"] = '"cache"'
    delete_session_cookie(response, authenticator.cookie)
    return response


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


DONE_TEXTS = {
    "password": N_("Your password is changed. Your other sessions are signed out."),
    "session": N_("The session is signed out."),
}
Password = Annotated[str, Form(max_length=1000)]


@router.get("/account")
@requires(Access.VIEWER)
def show_account(request: Request, state: State, done: str = "") -> HTMLResponse:
    """Show who is signed in, and their sessions."""
    return _render(request, state, done=gettext(DONE_TEXTS[done]) if done in DONE_TEXTS else "")


@router.post("/account/password")
@requires(Access.VIEWER)
async def change_password(
    request: Request, state: State, current: Password = "", new: Password = "", again: Password = ""
) -> Response:
    """Change the own password, which signs out all other browsers."""
    entered = current, new, again
    return await to_thread.run_sync(_change_password, request, state, *entered, limiter=HASH_LIMITER)


@router.post("/account/sessions/end")
@requires(Access.VIEWER)
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

    def refusal(problem: str, status: HTTPStatus = HTTPStatus.UNPROCESSABLE_ENTITY) -> Response:
        return _render(request, state, problem=problem, status=status)

    if user is None:
        text = gettext("A token has no password. Sign in by name to change yours.")
        return refusal(text, HTTPStatus.FORBIDDEN)
    if new != again:
        return refusal(gettext("The two new passwords differ. Enter the same twice."))
    try:
        if check_user(state.database, user.name, current, client.network) is None:
            return refusal(gettext("The current password is wrong."), HTTPStatus.FORBIDDEN)
        set_password(state.database, user.name, new, kept_session=grant.session_id)
    except AttemptsUsedUp as error:
        page = refusal(str(error), HTTPStatus.TOO_MANY_REQUESTS)
        page.headers["retry-after"] = str(error.retry_after_s)
        return page
    except PasswordRefused as error:
        return refusal(page_text(error))
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
