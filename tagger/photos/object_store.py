"""Connections to buckets: addresses, credentials and limits of obstore; and what its errors mean.

Credentials come from the environment, files and machine roles that the tools of the providers use too.
Messages contain none: they show only the status and code of a server's answer, and the host of its address.
obstore does not survive a fork: children are started as new programs.
"""

import os
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tagger.errors import BucketExtraMissing, BucketUnavailable
from tagger.extensions import install_command, is_installed
from tagger.photos.files import open_regular
from tagger.photos.paths import ObjectPath

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Credential, S3Store

    Store = S3Store | GCSStore | AzureStore

Result = TypeVar("Result")

CONNECT_TIMEOUT = timedelta(seconds=5)
# A connection that transfers nothing for this long is given up, and the request is repeated.
STALL_TIMEOUT = timedelta(seconds=20)
RETRY_TIMEOUT = timedelta(seconds=60)
# The time limit of a check whether a bucket answers.
CHECK_TIMEOUT = timedelta(seconds=10)
ATTEMPTS = 4
# The first pause before a request is repeated; each further one takes twice as long.
RETRY_PAUSE_S = 0.5
# How long keys from a file are used before the file is read again: programs that rotate keys
# replace it.
_REREAD = timedelta(minutes=5)

AWS = "https://s3.amazonaws.com"
_HOST = re.compile(r"^(https?)://(?:[^/@]*@)?([^/@?#]+)")
# The server at which each bucket of S3 was found, as far as this process knows.
_endpoints: dict[str, str] = {}
# Functions that note further servers. They are called before the first request to a bucket.
_endpoint_readers: list[Callable[[], None]] = []
_reader_lock = threading.Lock()


def open_store(path: ObjectPath, *, patient: bool = True) -> "Store":
    """Return the store of the bucket, shared by threads. `patient`: requests are repeated for a minute.

    Raises:
        BucketExtraMissing: obstore is not installed.
        BucketUnavailable: the bucket was found at another server than the one that this process asks; or the
            file of certificates cannot be read.
    """
    if not is_installed("obstore"):
        reason = f"buckets need the extra cloud, which is not installed. Run: {install_command('cloud')}"
        raise BucketExtraMissing(folder=path, reason=reason)
    variables = _variables()
    if problem := _endpoint_problem(path, _endpoint(variables)):
        raise BucketUnavailable(folder=path, reason=problem)
    return _open_store(
        path.scheme,
        path.bucket,
        frozenset(variables.items()),
        patient,
    )


def current_endpoint(path: Path) -> str | None:
    """The server that this process asks for a bucket of S3, without credentials; None for other paths."""
    if not isinstance(path, ObjectPath) or path.scheme != "s3":
        return None
    return _server(_endpoint(_variables()) or AWS)


def note_endpoint(path: Path, endpoint: str | None) -> None:
    """Let `open_store` refuse the bucket if this process asks another server. None if it is not known."""
    if isinstance(path, ObjectPath) and endpoint is not None:
        _endpoints[path.bucket] = endpoint


def note_endpoints_on_demand(reader: Callable[[], None]) -> None:
    """Call `reader`, which notes endpoints, only before the next request: most commands make none."""
    with _reader_lock:
        _endpoint_readers.append(reader)


def _endpoint_problem(path: ObjectPath, endpoint: str | None) -> str | None:
    # Why not to use a bucket: at another server, one of the same name may belong to somebody else.
    # If both servers are custom endpoints, the operator's setting counts: in a container, the same server
    # often has another name.
    if path.scheme != "s3":
        return None
    # No bucket is used until all readers have succeeded; one that fails is called again.
    with _reader_lock:
        while _endpoint_readers:
            _endpoint_readers[-1]()
            _endpoint_readers.pop()
    known = _endpoints.get(path.bucket)
    if endpoint is None and known not in (None, AWS):
        return (
            f"it was found at {known}, and this process, which has no endpoint, would ask AWS. "
            f"Set AWS_ENDPOINT_URL={known}"
        )
    if endpoint is not None and known == AWS and _server(endpoint) != AWS:
        return (
            f"it was found at AWS, and this process would ask {_server(endpoint)}. Unset the endpoint; "
            f"or if the bucket was moved there, run `tagger forget {path}` first"
        )
    return None


def _server(endpoint: str) -> str:
    # The server of an endpoint without its credentials; AWS has many names.
    match = _HOST.search(endpoint)
    if match is None or match[2].partition(":")[0].endswith(
        (".amazonaws.com", ".amazonaws.com.cn")
    ):
        return AWS
    return f"{match[1]}://{match[2]}"


def _endpoint(variables: dict[str, str]) -> str | None:
    return variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL")


def _variables() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))
    }


@lru_cache(maxsize=64)
def _open_store(
    scheme: str, bucket: str, environment: frozenset[tuple[str, str]], patient: bool
) -> "Store":
    from obstore.store import AzureStore, GCSStore, S3Store

    variables = dict(environment)
    endpoint = _endpoint(variables)
    options: Any = {
        "client_options": {
            "connect_timeout": CONNECT_TIMEOUT,
            "read_timeout": STALL_TIMEOUT if patient else CHECK_TIMEOUT,
            # Readers have a time limit of their own.
            "timeout": timedelta(hours=1) if patient else 4 * CHECK_TIMEOUT,
            "user_agent": "landmark-tagger",
        },
        "retry_config": {
            "max_retries": 8 if patient else 3,
            "retry_timeout": RETRY_TIMEOUT if patient else CHECK_TIMEOUT,
            "backoff": {
                "init_backoff": timedelta(milliseconds=200),
                "max_backoff": timedelta(seconds=8),
            },
        },
    }
    if scheme == "s3" and endpoint and endpoint.startswith("http://"):
        options["client_options"]["allow_http"] = True
    if bundle := variables.get("AWS_CA_BUNDLE"):
        try:
            with open_regular(Path(bundle)) as file:
                options["client_options"]["root_certificate"] = file.read()
        except OSError as error:
            reason = f"the file {bundle}, which AWS_CA_BUNDLE names, cannot be read: {error.strerror}"
            raise BucketUnavailable(
                folder=f"{scheme}://{bucket}", reason=reason
            ) from error
    if scheme == "gs":
        return GCSStore(bucket, **options)
    if scheme == "az":
        return AzureStore(bucket, **options)
    if endpoint:
        options["endpoint"] = endpoint
    keys = _ProfileKeys(variables)
    options["region"] = (
        variables.get("AWS_REGION")
        or variables.get("AWS_DEFAULT_REGION")
        or keys.region
        or "us-east-1"
    )
    if "AWS_ACCESS_KEY_ID" not in variables and keys.read() is not None:
        options["credential_provider"] = keys
    return S3Store(bucket, **options)


class _ProfileKeys:
    # Keys and region of a profile in the files of the AWS command line, which obstore does not read.
    def __init__(self, variables: dict[str, str]) -> None:
        folder = Path(os.path.expanduser("~/.aws"))  # noqa: PTH111 - a user may have no home folder
        self._profile = variables.get("AWS_PROFILE", "default")
        self._credentials = Path(
            variables.get("AWS_SHARED_CREDENTIALS_FILE") or folder / "credentials"
        )
        self._config = Path(variables.get("AWS_CONFIG_FILE") or folder / "config")

    @property
    def region(self) -> str | None:
        return self._value(self._config, self._config_section, "region")

    def __call__(self) -> "S3Credential":
        keys = self.read()
        if keys is None:
            raise ValueError("the profile has no keys any more")
        return keys

    def read(self) -> "S3Credential | None":
        for file, section in (
            (self._credentials, self._profile),
            (self._config, self._config_section),
        ):
            key = self._value(file, section, "aws_access_key_id")
            secret = self._value(file, section, "aws_secret_access_key")
            if key and secret:
                return {
                    "access_key_id": key,
                    "secret_access_key": secret,
                    "token": self._value(file, section, "aws_session_token"),
                    "expires_at": datetime.now(UTC) + _REREAD,
                }
        return None

    @property
    def _config_section(self) -> str:
        return "default" if self._profile == "default" else f"profile {self._profile}"

    @staticmethod
    def _value(file: Path, section: str, name: str) -> str | None:
        from configparser import ConfigParser, Error

        parser = ConfigParser(interpolation=None)
        try:
            parser.read(os.path.expanduser(file), "utf-8")  # noqa: PTH111
        except (Error, OSError, UnicodeDecodeError):
            return None
        return parser.get(section, name, fallback=None)


_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_STATUS = re.compile(r"(?:status |\()code: (\d{3})\b")
_REFUSED_STATUS = re.compile(r"(?:status |\()code: 40[13]\b")
_HOST_IN_TEXT = re.compile(r"https?://(?:[^/@\s]*@)?([^/@?#\s]+)")
# Errors of missing credentials: a part is missing, or the machine's role, tried last, is silent.
_NO_CREDENTIALS = re.compile(
    r"169\.254\.|/latest/api/token|metadata\.google|credential provider|Missing \w+Key",
    re.IGNORECASE,
)

EXPIRED_CODES = frozenset(
    ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired")
)


def store_errors() -> tuple[type[Exception], ...]:
    """What obstore raises. Where it is not installed, `open_store` raises BucketExtraMissing instead."""
    if not is_installed("obstore"):
        return (OSError, ValueError)
    from obstore.exceptions import BaseError

    return (BaseError, OSError, ValueError)


def error_code(error: Exception) -> str:
    """The code in a server's answer, like `NoSuchBucket`, or its status; empty without an answer."""
    match = _CODE.search(str(error)) or _STATUS.search(str(error))
    return match[1] if match else ""


def lacks_credentials(error: Exception) -> bool:
    return bool(_NO_CREDENTIALS.search(str(error)))


def is_worth_repeating(error: Exception) -> bool:
    """Whether a repeated request can succeed. obstore has repeated what servers refuse temporarily."""
    code = error_code(error)
    if code in EXPIRED_CODES:
        _open_store.cache_clear()  # the next stores read the credentials again
        return True
    return (
        not code
        and not lacks_credentials(error)
        and not isinstance(error, FileNotFoundError | ValueError)
    )


def repeated(
    request: Callable[[], Result],
    may_succeed: Callable[[Exception], bool] = is_worth_repeating,
) -> Result:
    """Send a request again while its error `may_succeed` the next time.

    Raises:
        store_errors(): the last error.
    """
    failures, deadline = 0, time.monotonic() + RETRY_TIMEOUT.total_seconds()
    while True:
        try:
            return request()
        except store_errors() as error:
            failures += 1
            if (
                failures == ATTEMPTS
                or time.monotonic() > deadline
                or not may_succeed(error)
            ):
                raise
        time.sleep(RETRY_PAUSE_S * 2 ** (failures - 1))


def error_text(error: Exception) -> str:
    from obstore.exceptions import InvalidPathError

    text, code = str(error), error_code(error)
    shown = f" ({code})" if code else ""
    if lacks_credentials(error):
        return (
            "there are no credentials for it. Set them as for the programs of its provider: "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE, GOOGLE_APPLICATION_CREDENTIALS, "
            "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY"
        )
    if isinstance(error, InvalidPathError):
        return (
            "a key in it has an empty part (//), one that is a dot, or a control character. "
            "Rename that object"
        )
    if _REFUSED_STATUS.search(text) and code not in _CODE_TEXTS:
        return _REFUSED_TEXT.format(shown)
    if "without LOCATION" in text:
        code = "PermanentRedirect"
    if code:
        unknown = f"the server answers with an error{shown}. Try again later"
        return _CODE_TEXTS.get(code, unknown).format(shown)
    # Why no connection was made, from the error of the HTTP library.
    match = _HOST_IN_TEXT.search(text)
    server = match[1] if match else "the server"
    return next(
        (known for part, known in _CONNECTION_TEXTS.items() if part in text),
        "{} does not answer. Check the network and the endpoint",
    ).format(server)


_REFUSED_TEXT = "the server refuses access{}. Check the credentials and their rights to list and read"
_EARLY_END_TEXT = (
    "{} sends less of an answer than it announced. Check the network, proxies in between, "
    "and the server"
)
# The texts by a part of the error's text.
_CONNECTION_TEXTS = {
    "response body error": _EARLY_END_TEXT,
    "connection ended early": _EARLY_END_TEXT,
    "dns error": "the name of {} is not known. Check the endpoint and the network",
    "ConnectionRefused": "no server listens at {}. Check the endpoint, and that the server runs",
    "InvalidContentType": "{} does not use TLS. Begin the endpoint with http:// instead of https://",
    "InvalidCertificate": "the certificate of {} is not trusted. Name its authority's file in AWS_CA_BUNDLE",
}
_CODE_TEXTS = {
    **dict.fromkeys(EXPIRED_CODES, "the credentials have expired{}. Renew them"),
    **dict.fromkeys(
        ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"),
        _REFUSED_TEXT,
    ),
    **dict.fromkeys(
        ("NoSuchBucket", "NoSuchKey", "ContainerNotFound"),
        "there is no such bucket. Check its name and the endpoint",
    ),
    "InvalidObjectState": "the object is archived{}. Restore it from the archive first",
    "PermanentRedirect": "the bucket is in another region. Set AWS_REGION to the region of the bucket",
}
