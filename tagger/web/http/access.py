"""Who may use a route: what each declares beside its address, what a request needs by that, and from when."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from enum import Enum, auto
from secrets import token_urlsafe
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import Scope

from tagger.database.connection import Database
from tagger.database.enums import Role
from tagger.people.tokens import Grant
from tagger.people.users import has_users
from tagger.texts.text_format import N_, gettext
from tagger.web.http.auth import AccessPolicy, Authenticator

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
DATABASE_LIMITER = CapacityLimiter(8)
"""Threads that look up people, tokens and sessions: apart from those of the pages, which may all be busy."""


class Access(Enum):
    """Who may use a route. People and tokens with a role may do what those with a lesser one may."""

    ANYBODY = auto()
    """Without authentication: the page to sign in and its files."""
    VISITOR = auto()
    """Without authentication: the route itself checks the link of a share."""
    VIEWER = auto()
    EDITOR = auto()
    ADMIN = auto()


_DECLARED = "access"
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def requires(access: Access) -> Callable[[Endpoint], Endpoint]:
    """Declare who may use the route of a function, below the decorator with its address."""

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _DECLARED, access)
        return endpoint

    return declare


class RouteAccess:
    """What the routes of an application declare.

    Raises:
        ValueError: a route declares nothing.
    """

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._routes = [(route, _declared(route)) for route in routes]
        areas: defaultdict[str, set[Access]] = defaultdict(set)
        for route, access in self._routes:
            if isinstance(route, Route):
                areas[_area(route.path)].add(access)
        self._areas = {area: found.pop() for area, found in areas.items() if len(found) == 1}

    def of(self, scope: Scope) -> Access:
        """Return what a request needs.

        One that no route answers needs as much as the routes beside it, if these agree, and a change needs
        an editor.
        """
        request = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        for route, access in self._routes:
            if route.matches(request)[0] is Match.FULL:
                return access
        beside = self._areas.get(_area(scope["path"]), Access.VIEWER)
        is_change = scope["method"] not in SAFE_METHODS
        return Access.EDITOR if beside is Access.VIEWER and is_change else beside


class SignIn:
    """Sign-in: from the start of a page with a token, else from the first person on.

    `routes`: those for people who sign in, which the application has from then on.
    """

    def __init__(
        self, app: FastAPI, database: Database, policy: AccessPolicy, routes: Sequence[BaseRoute]
    ) -> None:
        self.authenticator: Authenticator | None = None
        """None: everybody on this machine has access."""
        self.route_access = RouteAccess(app.routes)
        self._app = app
        self._database = database
        self._policy = policy
        self._routes = routes
        if policy.token is not None:
            self._start(policy.token)

    async def start_if_due(self) -> bool:
        """Start it if a person was added since the last request; return whether it has just started.

        Raises:
            DatabaseError: the database cannot be asked.
        """
        if self.authenticator is not None:
            return False
        is_due = await to_thread.run_sync(has_users, self._database, limiter=DATABASE_LIMITER)
        if is_due and self.authenticator is None:  # another request may have started it meanwhile
            self._start(token_urlsafe())
        return is_due

    def _start(self, token: str) -> None:
        self._app.router.routes.extend(self._routes)
        self.route_access = RouteAccess(self._app.routes)
        self.authenticator = Authenticator(self._database, token, self._policy.new_user_role)
        self._app.state.authenticator = self.authenticator


def refusal(grant: Grant, access: Access) -> str | None:
    """Return why a request exceeds its role; None if it is allowed."""
    if access is Access.ADMIN and grant.role is not Role.ADMIN:
        return gettext(_NO_ADMIN)
    if access is Access.EDITOR and not grant.may_change:
        return gettext(_READ_ONLY)
    return None


_READ_ONLY = N_(
    "Your access is read-only: you can search photos and classify uploads. Sign in with another token or "
    "name to make changes."
)
_NO_ADMIN = N_("Only admins may do this. Ask one of them.")


def _declared(route: BaseRoute) -> Access:
    target = route.app if isinstance(route, Mount) else getattr(route, "endpoint", None)
    access = getattr(target, _DECLARED, None)
    if not isinstance(access, Access):
        methods = ", ".join(sorted(getattr(route, "methods", None) or ()))
        raise ValueError(  # noqa: TRY004 - the mistake is in the code of the route
            f"the route {methods} {getattr(route, 'path', route)} does not declare who may use it: add "
            "@requires(Access.…) to its function"
        )
    return access


def _area(path: str) -> str:
    """The first part of a path, with a slash if more follows: `/admin/` of `/admin/users`."""
    head, slash, _ = path[1:].partition("/")
    return head + slash
