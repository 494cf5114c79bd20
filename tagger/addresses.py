"""Addresses of servers: whether one is valid, how it is shown without secrets, and whether only this machine reaches it.

Programs disagree about where the password of a malformed address ends, so no part of such an address is shown, and no
server is contacted: its errors would name a part as the host.
"""

import re
from ipaddress import ip_address
from urllib.parse import parse_qsl, urlsplit

BUCKET_SCHEMES = ("s3", "gs", "az")
"""The schemes of addresses in buckets (see photos.object_paths)."""
HIDDEN = "an invalid address"
"""Shown in place of an address that is not valid."""
_REMEDY = "write special characters in its password as %XX (@ is %40, / is %2F, ? is %3F, # is %23, & is %26)"

_SERVER = r"(?P<server>(?:[\w.,-]*|\[[\w:.%]*\])(?::\d{1,5})?)"
_REDIS = re.compile(
    rf"(?P<scheme>rediss?)://(?:[^\s@/?#\[\]]*@)?{_SERVER}(?P<path>/\d*)?(?:\?[^\s@]*)?", re.ASCII
)
_REDIS_SOCKET = re.compile(r"(?P<scheme>redis\+socket)://(?P<path>/[^?]*)(?:\?.*)?")
_REDIS_OPTION = re.compile(
    "client_name|db|health_check_interval|max_connections|password|protocol|retry_on_timeout|timeout|username|virtual_host"
    "|socket_(connect_timeout|keepalive|read_size|timeout)"
    "|ssl_(ca_certs|ca_data|ca_path|cert_reqs|certfile|check_hostname|ciphers|keyfile|min_version|password)"
)
_POSTGRESQL = re.compile(
    rf"(?P<scheme>postgres(?:ql)?(?:\+\w+)?)://(?:[^\s:/@?]*(?::[^@?]*)?@)?{_SERVER}(?P<path>/[^@?]*)?(?:\?[^@]*)?"
)
_SQLITE = re.compile(r"(?P<scheme>sqlite(?:\+\w+)?)://(?P<path>/[^?]*)(?:\?.*)?")


class AddressInvalid(ValueError):
    """The address of a server cannot be used. The text contains no part of it."""


def check_redis_url(url: str) -> None:
    """Raise AddressInvalid unless `url` is an address of Redis."""
    try:
        query = urlsplit(url).query
        valid = _REDIS.fullmatch(url) or _REDIS_SOCKET.fullmatch(url)
    except ValueError:  # a part of the address is in its text
        query, valid = "", None
    if not valid:
        raise AddressInvalid(f"it is not an address like redis://HOST:6379/0; {_REMEDY}")
    # An unknown option may be a part of a password.
    if not all(_REDIS_OPTION.fullmatch(name) for name, _ in parse_qsl(query, keep_blank_values=True)):
        raise AddressInvalid(f"it has an option after ? that Redis clients do not know; {_REMEDY}")


def check_postgresql_url(url: str) -> None:
    """Raise AddressInvalid unless `url` is an address of PostgreSQL."""
    if not _POSTGRESQL.fullmatch(url):
        raise AddressInvalid(f"it is not an address like postgresql://USER@HOST/NAME; {_REMEDY}")


def redact_url(url: str) -> str:
    """Return the address without user, password and options; HIDDEN if it is not valid."""
    for pattern in (_REDIS, _REDIS_SOCKET, _POSTGRESQL, _SQLITE):
        if match := pattern.fullmatch(url):
            parts = {"server": "", **match.groupdict(default="")}
            return f"{parts['scheme']}://{parts['server']}{parts['path']}"
    return HIDDEN


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches the address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return False
