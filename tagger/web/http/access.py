"""Who has access to a server, by the address that it listens at and its token; and what each role may request.

A route that is not named here is refused to viewers if it changes something.
"""

from dataclasses import dataclass, field

from tagger.people.grants import Grant, Role
from tagger.system.addresses import is_loopback
from tagger.web.http.forwarded import Network

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_VIEWER_POSTS = frozenset({"/", "/api/predict", "/sign-out", "/account/password", "/account/sessions/end"})
"""What a viewer may send: photos to classify, of which nothing is stored, and changes of the own account."""
_VIEWER_HIDDEN = frozenset({"/api/folders", "/api/shares", "/jobs/new", "/jobs/schedules/new"})
"""What a viewer may not read: these list folders of the server, to start jobs in them, and who else sees photos."""
_HIDDEN_BELOW = "/api/shares/"
_ADMIN_PATHS = ("/admin/", "/api/admin/")
"""All routes about other people's access are below these, and no other routes."""
_READ_ONLY = "Your access is read-only: you can search photos and classify uploads. Sign in with another token or name to make changes."
_NO_ADMIN = "Only admins may do this. Ask one of them."


def refusal(grant: Grant, method: str, path: str) -> str | None:
    """Return why the request exceeds its role; None if it is allowed."""
    if path.startswith(_ADMIN_PATHS) and grant.role is not Role.ADMIN:
        return _NO_ADMIN
    if grant.role is not Role.VIEWER:
        return None
    if method not in SAFE_METHODS:
        is_allowed = path in _VIEWER_POSTS
    else:
        is_allowed = path not in _VIEWER_HIDDEN and not path.startswith(_HIDDEN_BELOW)
    return None if is_allowed else _READ_ONLY


@dataclass(frozen=True)
class AccessPolicy:
    """A server's address, token and proxies. Without a token, only this machine has access.

    Raises:
        ValueError: other machines reach the address, and there is no token.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = field(default=None, repr=False)
    upload_bytes: int = 64 * 2**20
    trusted_proxies: tuple[Network, ...] = ()
    """Reverse proxies whose X-Forwarded headers are believed."""
    user_header: str | None = None
    """The header in which these proxies name the person that they have signed in."""
    new_user_role: Role | None = None
    """The role of a person whom the header names for the first time; None: they have no access."""

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise ValueError(f"other machines reach {self.host}, so a token is required")

    @property
    def hosts(self) -> frozenset[str]:
        """The Host headers accepted without a token. Any other name is a DNS rebinding attack or a mistake."""
        names = {"127.0.0.1", "localhost", "[::1]", f"[{self.host}]" if ":" in self.host else self.host}
        with_port = {f"{name}:{self.port}" for name in names}
        return frozenset(with_port | names if self.port == 80 else with_port)
