"""A page that is registered at a provider, and browsers that sign in to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, urlsplit

import httpx2 as httpx
from rig.servers import free_port
from support.oidc_provider import CLIENT_ID, CLIENT_SECRET, OidcProvider
from support.page_server import TOKEN, served

from tagger.database.connection import Database
from tagger.settings import Settings


def registered(settings: Settings, provider: OidcProvider, port: int, **changes: object) -> Settings:
    """The settings of a page at this port, which is registered at the provider."""
    provider.client.redirect_url = f"http://127.0.0.1:{port}/sign-in/oidc/callback"
    provider.client.signed_out_url = f"http://127.0.0.1:{port}/sign-in"
    values = {
        "web_url": f"http://127.0.0.1:{port}",
        "web_oidc_issuer": provider.issuer,
        "web_oidc_client_id": CLIENT_ID,
        "web_oidc_client_secret": CLIENT_SECRET,
    }
    return settings.model_copy(update=values | changes)


@contextmanager
def page_with(
    settings: Settings, database: Database, provider: OidcProvider, **changes: object
) -> Iterator[str]:
    """Serve the page; yield its address."""
    port = free_port()
    with served(registered(settings, provider, port, **changes), database, TOKEN, port):
        yield f"http://127.0.0.1:{port}"


class Visitor:
    """A browser of the page at an address, without redirects: each step is seen."""

    def __init__(self, address: str) -> None:
        # Its addresses begin with http: without reading the system's certificates, a browser is ready at once.
        self.client = httpx.Client(base_url=address, timeout=60, verify=False)

    def begin(self, next_address: str = "/places") -> httpx.Response:
        return self.client.get("/sign-in/oidc", params={"next": next_address})

    def at_provider(self, begun: httpx.Response) -> str:
        """Go to the provider; return where it sends the browser."""
        assert begun.status_code == 303, begun.text
        return self.client.get(begun.headers["location"]).headers["location"]

    def sign_in(self, next_address: str = "/places") -> httpx.Response:
        return self.client.get(self.at_provider(self.begin(next_address)))

    def status(self) -> int:
        """200 if it is signed in, else 401."""
        return self.client.get("/api/openapi.json").status_code


def parameters(address: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(urlsplit(address).query).items()}
