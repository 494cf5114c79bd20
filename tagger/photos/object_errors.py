"""Errors of object stores: what they mean, and texts with a remedy.

Messages contain no credentials: they show only the status and code of a server's answer, and the host of its address.
"""

import re

from tagger.photos.object_store import reopen_stores

_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_STATUS = re.compile(r"status code: (\d{3})")
_HOST = re.compile(r"https?://(?:[^/@\s]*@)?([^/@?#\s]+)")
_NO_CREDENTIALS = re.compile(
    r"169\.254\.|/latest/api/token|metadata\.google|credential provider|Missing \w+Key", re.IGNORECASE
)
"""Matches errors of missing credentials: a part of them is missing, or the role of the machine, which is tried last, does not answer."""

EXPIRED_CODES = frozenset(("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"))


def store_errors() -> tuple[type[Exception], ...]:
    """What obstore raises."""
    from obstore.exceptions import BaseError

    return (BaseError, OSError, ValueError)


def is_invalid_key(error: Exception) -> bool:
    """Whether a listing has a key that obstore cannot read."""
    from obstore.exceptions import InvalidPathError

    return isinstance(error, InvalidPathError)


def condition_errors() -> tuple[type[Exception], ...]:
    """What obstore raises if the condition of a write does not hold."""
    from obstore.exceptions import AlreadyExistsError, PreconditionError

    return (AlreadyExistsError, PreconditionError)


def error_code(error: Exception) -> str:
    """The code in a server's answer, like `NoSuchBucket`, or its status; empty if the server did not answer."""
    for pattern in (_CODE, _STATUS):
        if match := pattern.search(str(error)):
            return match[1]
    return ""


def lacks_credentials(error: Exception) -> bool:
    return bool(_NO_CREDENTIALS.search(str(error)))


def is_worth_repeating(error: Exception) -> bool:
    """Whether a request can succeed when it is repeated. obstore itself has already repeated those that servers refuse temporarily."""
    code = error_code(error)
    if code in EXPIRED_CODES:
        reopen_stores()
        return True
    return not code and not lacks_credentials(error) and not isinstance(error, FileNotFoundError | ValueError)


def is_unsupported(error: Exception) -> bool:
    """Whether the server does not know this kind of request."""
    return error_code(error) in {"NotImplemented", "501", "MethodNotAllowed", "405"}


def lacks_rights(error: Exception) -> bool:
    """Whether the server accepts the credentials, but they lack the right for this request."""
    from obstore.exceptions import PermissionDeniedError

    code = error_code(error)
    return code in {"AccessDenied", "403"} or (
        isinstance(error, PermissionDeniedError) and code not in _CODE_TEXTS
    )


def error_text(error: Exception) -> str:
    """Why a bucket or an object cannot be read, with a remedy."""
    from obstore.exceptions import InvalidPathError, PermissionDeniedError, UnauthenticatedError

    text, code = str(error), error_code(error)
    shown = f" ({code})" if code else ""
    if lacks_credentials(error):
        return _NO_CREDENTIALS_TEXT
    if isinstance(error, InvalidPathError):
        return _INVALID_KEY_TEXT
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) and code not in _CODE_TEXTS:
        return _REFUSED_TEXT.format(shown)
    if "without LOCATION" in text:
        code = "PermanentRedirect"
    unknown = f"the server answers with an error{shown}. Try again later"
    return _CODE_TEXTS.get(code, unknown).format(shown) if code else _connection_text(text)


def _connection_text(text: str) -> str:
    """Why no connection was made, from the error of the HTTP library."""
    match = _HOST.search(text)
    server = match[1] if match else "the server"
    return next((known for part, known in _CONNECTION_TEXTS.items() if part in text), _SILENT_TEXT).format(
        server
    )


_NO_CREDENTIALS_TEXT = (
    "there are no credentials for it. Set them as for the programs of its provider: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or "
    "AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"
)
_INVALID_KEY_TEXT = "a key in it has an empty part (//), one that is a dot, or a control character, which cannot be read. Rename that object"
_REFUSED_TEXT = "the server refuses access{}. Check the credentials and their rights to list and read"
_EXPIRED_TEXT = "the credentials have expired{}. Renew them"
_SILENT_TEXT = "{} does not answer. Check the network and the endpoint"
_CONNECTION_TEXTS = {
    "dns error": "the name of {} is not known. Check the endpoint and the network",
    "ConnectionRefused": "no server listens at {}. Check the endpoint, and that the server runs",
    "InvalidContentType": "{} does not use TLS. Begin the endpoint with http:// instead of https://",
    "InvalidCertificate": "the certificate of {} is not trusted. Name the file of its authority in AWS_CA_BUNDLE",
}
"""The texts by a part of the error's text."""
_CODE_TEXTS = {
    **dict.fromkeys(EXPIRED_CODES, _EXPIRED_TEXT),
    **dict.fromkeys(
        ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"), _REFUSED_TEXT
    ),
    **dict.fromkeys(
        ("NoSuchBucket", "NoSuchKey"), "there is no such bucket. Check its name and the endpoint"
    ),
    "InvalidObjectState": "the object is archived{}. Restore it from the archive first",
    "PermanentRedirect": "the bucket is in another region. Set AWS_REGION to the region of the bucket",
}
