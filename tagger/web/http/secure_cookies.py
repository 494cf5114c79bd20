"""Whether a cookie is sent over https alone. Also behind a proxy that is not trusted, whose headers say nothing."""

from fastapi import Request

from tagger.web.http.forwarded import Client


def is_by_https(request: Request, web_url: str | None = None) -> bool:
    """Whether the browser uses https, as far as the request shows.

    A form has an Origin header. A link that is opened has none: then `web_url`, the address of the page in the settings, decides
    if the request names its host.
    """
    client: Client = request.state.client
    if client.scheme == "https":
        return True
    origin = request.headers.get("origin")
    if origin is not None:
        return origin.startswith("https://")
    return web_url is not None and web_url.rstrip("/").lower() == f"https://{_host(request)}"


def _host(request: Request) -> str:
    return request.headers.get("host", "").lower().removesuffix(":443")
