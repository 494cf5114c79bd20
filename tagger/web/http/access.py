"""Who has access to a server, decided by the address that it listens at and its token."""

from dataclasses import dataclass, field

from tagger.people.grants import Role
from tagger.system.addresses import is_loopback
from tagger.web.http.forwarded import Network


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
