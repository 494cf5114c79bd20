"""Who may do what: the roles, which of them a route needs, and which one a request has."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, TypeVar

from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Scope

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class Role(IntEnum):
    """What somebody may do. Each role may do what those before it may."""

    # Without authentication: the page to sign in and its files.
    ANYBODY = 0
    VIEWER = 1
    EDITOR = 2
    ADMIN = 3


@dataclass(frozen=True)
class Grant:
    """What a request may do. `name`: the token or person, as in the audit log; empty without one."""

    name: str
    role: Role

    @property
    def may_change(self) -> bool:
        """Whether the request may change tags, verdicts and other facts of photos."""
        return self.role >= Role.EDITOR


STRANGER = Grant("", Role.ANYBODY)

_DECLARED = "role"
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def requires(role: Role) -> Callable[[Endpoint], Endpoint]:
    """Declare who may use the route of a function, below the decorator with its address."""

    def declare(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _DECLARED, role)
        return endpoint

    return declare


class RouteRoles:
    """What the routes of an application declare.

    Raises:
        ValueError: a route declares nothing.
    """

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._routes = [(route, _declared(route)) for route in routes]

    def of(self, scope: Scope) -> Role:
        """Return what a request needs. One that no route answers tells strangers nothing."""
        request = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        for route, role in self._routes:
            if route.matches(request)[0] is Match.FULL:
                return role
        return Role.VIEWER if scope["method"] in SAFE_METHODS else Role.EDITOR


def _declared(route: BaseRoute) -> Role:
    target = route.app if isinstance(route, Mount) else getattr(route, "endpoint", None)
    role = getattr(target, _DECLARED, None)
    if not isinstance(role, Role):
        methods = ", ".join(sorted(getattr(route, "methods", None) or ()))
        raise ValueError(  # noqa: TRY004 - the mistake is in the code of the route
            f"the route {methods} {getattr(route, 'path', route)} does not declare who may use it: add "
            "@requires(Role.…) to its function"
        )
    return role
