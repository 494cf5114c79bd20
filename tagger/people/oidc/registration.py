"""How this page is registered at the provider, as the settings say."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tagger.people.grants import Role
from tagger.settings import Settings

START_PATH = "/sign-in/oidc"
CALLBACK_PATH = "/sign-in/oidc/callback"
"""Where the provider sends people back to."""
SIGNED_OUT_PATH = "/sign-in"


@dataclass(frozen=True)
class Registration:
    """`page_url`: the public address of the page. `role_claim`: which names the role; None: roles are stored here.

    `new_role`: of a person who signs in for the first time; None: they have no access.
    """

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    page_url: str
    role_claim: str | None = None
    new_role: Role | None = None
    label: str | None = None
    signs_out: bool = True
    """Whether people are signed out at the provider too."""

    @property
    def name(self) -> str:
        """The provider's name for people: its label, else its host."""
        return self.label or urlsplit(self.issuer).netloc

    @property
    def start_url(self) -> str:
        return self.page_url + START_PATH

    @property
    def redirect_url(self) -> str:
        return self.page_url + CALLBACK_PATH

    @property
    def signed_out_url(self) -> str:
        """Where people come back to who were signed out there."""
        return self.page_url + SIGNED_OUT_PATH


def registration_of(settings: Settings) -> Registration | None:
    """The registration of the settings; None if they name no provider."""
    issuer, client_id, secret = (
        settings.web_oidc_issuer,
        settings.web_oidc_client_id,
        settings.web_oidc_client_secret,
    )
    if issuer is None or client_id is None or secret is None or settings.web_url is None:
        return None
    role = settings.web_user_role
    return Registration(
        issuer,
        client_id,
        secret,
        settings.web_url.rstrip("/"),
        settings.web_oidc_role_claim,
        None if role in {None, "none"} else Role(role),
        settings.web_oidc_name,
        settings.web_oidc_sign_out,
    )
