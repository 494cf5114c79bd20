"""Signing people out at the provider (OpenID Connect RP-Initiated Logout)."""

from urllib.parse import urlencode

from tagger.people.oidc.provider import Provider
from tagger.people.sessions import ProviderSession


def signs_out(provider: Provider) -> bool:
    """Whether the provider can sign people out, and the settings want it.

    Raises:
        ProviderUnavailable, ProviderMisconfigured: the provider does not say.
    """
    return provider.registration.signs_out and provider.configuration().end_session_endpoint is not None


def sign_out_url(provider: Provider, session: ProviderSession) -> str | None:
    """The address at the provider where a browser is signed out, and from where it comes back; None: there is none.

    The ID token of the sign-in goes with it, so that the provider need not ask who that is. Another provider, which the settings
    named at that time, is not signed out of, and its token is sent to nobody.

    Raises:
        ProviderUnavailable, ProviderMisconfigured: the provider does not say.
    """
    registration = provider.registration
    if session.issuer != registration.issuer or not registration.signs_out:
        return None
    endpoint = provider.configuration().end_session_endpoint
    if endpoint is None:
        return None
    parameters = {
        "client_id": registration.client_id,
        "post_logout_redirect_uri": registration.signed_out_url,
        **({"id_token_hint": session.id_token} if session.id_token else {}),
    }
    address = endpoint.partition("#")[0]
    return f"{address}{'&' if '?' in address else '?'}{urlencode(parameters)}"
