"""Who may use a route: what each declares beside its address, and what a request needs by that."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import Any, TypeVar

from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.types import Scope

from tagger.texts.text_format import N_, gettext
from tagger.web.http.grants import Grant

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class Access(Enum):
    """Who may use a route. Those with a role may do what those with a lesser one may."""

    ANYBODY = auto()
    """Without authentication: the page to sign in and its files."""
    VIEWER = auto()
    EDITOR = auto()


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


def refusal(grant: Grant, access: Access) -> str | None:
    """Return why a request exceeds its role; None if it is allowed."""
    if access is Access.EDITOR and not grant.may_change:
        return gettext(_READ_ONLY)
    return None


_READ_ONLY = N_(
    "Your access is read-only: you can search photos and classify uploads. Sign in with another token or "
    "name to make changes."
)


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
    """The first part of a path, with a slash if more follows: `/jobs/` of `/jobs/7`."""
    head, slash, _ = path[1:].partition("/")
    return head + slash
