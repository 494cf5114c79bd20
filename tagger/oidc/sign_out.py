"""Signing people out at the provider (OpenID Connect RP-Initiated Logout)."""

from urllib.parse import urlencode

from tagger.oidc.provider import Provider


def sign_out_url(provider: Provider, id_token: str) -> str | None:
    """The address at the provider where a browser is signed out, and from where it comes back; None: there is none.

    `id_token`: the one of the sign-in, so that the provider need not ask who that is; empty: it asks.

    Raises:
        ProviderUnavailable, ProviderMisconfigured: the provider does not say.
    """
    registration = provider.registration
    endpoint = provider.configuration().end_session_endpoint
    if endpoint is None:
        return None
    parameters = {
        "client_id": registration.client_id,
        "post_logout_redirect_uri": registration.signed_out_url,
        **({"id_token_hint": id_token} if id_token else {}),
    }
    address = endpoint.partition("#")[0]
    return f"{address}{'&' if '?' in address else '?'}{urlencode(parameters)}"
