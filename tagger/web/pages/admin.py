"""Other people's access, for admins."""

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from tagger.database.enums import Role
from tagger.errors import TaggerError
from tagger.people.passwords import generate_password
from tagger.people.sessions import end_open_session, list_sessions
from tagger.people.users import add_user, list_users, remove_user, set_password, set_role
from tagger.web.http.access import Access, requires
from tagger.web.http.error_texts import page_text
from tagger.web.http.templates import render
from tagger.web.pages.sign_in import HASH_LIMITER, browser_name
from tagger.web.state import AppState, State

router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

Name = Annotated[str, Form(max_length=200)]
"""Forms send names with numbers (`ada#1`): who has the name by now may be somebody else."""
ShownPassword = tuple[str, str]
"""A name and the new password."""


@router.get("/admin/users")
@requires(Access.ADMIN)
def show_users(request: Request, state: State) -> HTMLResponse:
    """Show everybody with a name, and all sessions."""
    return _render_users(request, state)


@router.post("/admin/users/add")
@requires(Access.ADMIN)
async def add(request: Request, state: State, name: Name, role: Annotated[Role, Form()]) -> Response:
    """Add a person with a generated password, which the answer shows once."""

    def change() -> ShownPassword:
        password = generate_password()
        return add_user(state.database, name, role, password).name, password

    return await to_thread.run_sync(partial(_changed, request, state, change, name), limiter=HASH_LIMITER)


@router.post("/admin/users/password")
@requires(Access.ADMIN)
async def renew_password(request: Request, state: State, name: Name) -> Response:
    """Give a person a generated password, which the answer shows once."""

    def change() -> ShownPassword:
        password = generate_password()
        set_password(state.database, name, password)
        return name.partition("#")[0], password

    return await to_thread.run_sync(partial(_changed, request, state, change), limiter=HASH_LIMITER)


@router.post("/admin/users/role")
@requires(Access.ADMIN)
def change_role(request: Request, state: State, name: Name, role: Annotated[Role, Form()]) -> Response:
    """Give a person another role."""
    return _changed(request, state, partial(set_role, state.database, name, role))


@router.post("/admin/users/remove")
@requires(Access.ADMIN)
def remove(request: Request, state: State, name: Name) -> Response:
    """Remove a person."""
    return _changed(request, state, partial(remove_user, state.database, name))


def _changed(request: Request, state: AppState, change: Callable[[], object], typed: str = "") -> Response:
    """Change somebody's access; show why it cannot be, or the new password. `typed`: the name of the form."""
    try:
        result = change()
    except TaggerError as error:
        return _render_users(request, state, problem=page_text(error), typed=typed)
    if isinstance(result, tuple):
        return _render_users(request, state, shown=result)
    return RedirectResponse("/admin/users", HTTPStatus.SEE_OTHER)


@router.post("/admin/sessions/end")
@requires(Access.ADMIN)
def end_session(state: State, session: Annotated[int, Form(ge=1, lt=2**63)]) -> Response:
    """Sign out anybody's session."""
    end_open_session(state.database, session)
    return RedirectResponse("/admin/users#sessions", HTTPStatus.SEE_OTHER)


def _render_users(
    request: Request,
    state: AppState,
    *,
    problem: str = "",
    typed: str = "",
    shown: ShownPassword | None = None,
) -> HTMLResponse:
    page = render(
        request,
        "users.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.OK,
        users=list_users(state.database),
        sessions=list_sessions(state.database),
        roles=Role,
        browser_name=browser_name,
        problem=problem,
        typed=typed,
        shown=shown,
    )
    page.headers["cache-control"] = "no-store"
    return page
