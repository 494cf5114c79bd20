"""Addresses of servers: whether one is valid, the form that other code reads, and what is shown of it.

Programs disagree about where the password of a malformed address ends, so no part of such an address is
shown, and no server is contacted: its errors would name a part as the host.
"""

import re
from ipaddress import ip_address
from urllib.parse import parse_qsl, urlsplit

# The schemes of addresses in buckets (see photos.paths).
BUCKET_SCHEMES = ("s3", "gs", "az")
# Shown in place of an address that is not valid.
HIDDEN = "an invalid address"
_REMEDY = "write special characters in its password as %XX (@ is %40, / is %2F, ? is %3F, # is %23, & is %26)"

_HOST = r"(?:[\w.-]*|\[[\w:.%]*\])(?::\d{1,5})?"
_SERVER = rf"(?P<server>{_HOST})"
_SERVERS = rf"(?P<server>(?:%2F[\w.%-]*(?::\d{{1,5}})?|{_HOST})(?:,(?:%2F[\w.%-]*(?::\d{{1,5}})?|{_HOST}))*)"
_REDIS = re.compile(
    rf"(?P<scheme>rediss?)://(?:[^\s@/?#\[\]]*@)?{_SERVER}(?P<path>/\d*)?(?:\?[^\s@]*)?",
    re.ASCII,
)
_REDIS_SOCKET = re.compile(r"(?P<scheme>redis\+socket)://(?P<path>/[^?]*)(?:\?.*)?")
_REDIS_OPTION = re.compile(
    "client_name|db|health_check_interval|max_connections|password|protocol|retry_on_timeout|timeout|username|virtual_host"
    "|socket_(connect_timeout|keepalive|read_size|timeout)"
    "|ssl_(ca_certs|ca_data|ca_path|certfile|check_hostname|ciphers|keyfile|min_version|password)"
    "|ssl_cert_reqs=(required|optional|none)"  # errors of kombu name others
)
# The parameters of libpq 18.
_POSTGRESQL_OPTION = re.compile(
    "application_name|channel_binding|client_encoding|connect_timeout|dbname|fallback_application_name|gsslib|gssdelegation|gssencmode"
    "|host|hostaddr|keepalives(_count|_idle|_interval)?|krbsrvname|load_balance_hosts|max_protocol_version|min_protocol_version"
    "|oauth_(client_id|client_secret|issuer|scope)|options|passfile|password|port|replication|require_auth|requirepeer"
    "|requiressl|scram_(client|server)_key|service|servicefile|target_session_attrs|tcp_user_timeout|user"
    "|ssl(cert|certmode|compression|crl|crldir|key|keylogfile|mode|negotiation|password|rootcert|sni|_max_protocol_version|_min_protocol_version)"
)
_POSTGRESQL = re.compile(
    rf"(?P<scheme>postgres(?:ql)?(?:\+\w+)?)://(?:(?P<user>[^\s:/@?]*(?::[^@?]*)?)@)?{_SERVERS}(?P<path>/[^@?]*)?(?:\?(?P<query>[^@]*))?",
    re.IGNORECASE,
)
_SQLITE = re.compile(r"(?P<scheme>sqlite(?:\+\w+)?)://(?P<path>/[^?]*)(?:\?.*)?")


class AddressInvalid(ValueError):
    """The address of a server cannot be used. The text contains no part of it."""


_SQLITE_OPTION = re.compile(
    "timeout|exclusive|in_memory|detect_types|isolation_level|check_same_thread|cached_statements"
)
_SQLITE_DRIVERS = {"", "pysqlite", "aiosqlite"}


def redis_address(text: str) -> str:
    """The address as `redis://`, `rediss://` or `redis+socket://`.

    Raises:
        AddressInvalid: it is no address of Redis.
    """
    scheme, mark, rest = text.partition("://")
    url = f"{scheme.lower()}{mark}{rest}"
    if not (_REDIS.fullmatch(url) or _REDIS_SOCKET.fullmatch(url)):
        raise AddressInvalid(
            f"it is not an address like redis://HOST:6379/0; {_REMEDY}"
        )
    if not _has_only_options(url, _REDIS_OPTION):
        raise AddressInvalid(
            f"it has an option after ? that Redis clients do not know; {_REMEDY}"
        )
    return url


def database_address(text: str) -> str:
    """The address as `sqlite:///FILE` or `postgresql://…`, also from one that names a driver.

    Raises:
        AddressInvalid: it is no address of SQLite or PostgreSQL.
    """
    scheme, mark, rest = text.partition("://")
    kind, _, driver = scheme.lower().partition("+")
    if mark and kind in {"postgres", "postgresql"}:
        url = f"postgresql://{rest}"
        if not _POSTGRESQL.fullmatch(url):
            raise AddressInvalid(
                f"it is not an address like postgresql://USER@HOST/NAME; {_REMEDY}"
            )
        if not _has_only_options(url, _POSTGRESQL_OPTION):
            raise AddressInvalid(
                f"it has an option after ? that PostgreSQL clients do not know; {_REMEDY}"
            )
        return url
    if mark and kind == "sqlite" and driver in _SQLITE_DRIVERS:
        if not (
            "uri=" in rest or _has_only_options(f"sqlite://{rest}", _SQLITE_OPTION)
        ):
            raise AddressInvalid(
                "it has an option after ? that SQLite's driver does not know; leave it out"
            )
        return f"sqlite://{rest}"
    raise AddressInvalid(
        "it is not a database address like sqlite:////data/tagger.sqlite or postgresql://USER@HOST/NAME"
    )


def split_servers(url: str) -> str:
    """The address of PostgreSQL with several hosts, or the folder of a socket as host, as options."""
    match = _POSTGRESQL.fullmatch(url)
    if match is None or not (
        "," in match["server"] or match["server"].upper().startswith("%2F")
    ):
        return url
    servers = [
        re.fullmatch(r"(.*?)(?::(\d+))?", server)
        for server in match["server"].split(",")
    ]
    hosts, ports = zip(
        *(server.groups("") for server in servers if server), strict=True
    )
    options = [f"host={','.join(host.strip('[]') for host in hosts)}"]
    options += (
        [f"port={','.join(port or '5432' for port in ports)}"] if any(ports) else []
    )
    options += [match["query"]] if match["query"] else []
    user = f"{match['user']}@" if match["user"] else ""
    return f"postgresql://{user}{match['path'] or ''}?{'&'.join(options)}"


def _has_only_options(url: str, known: re.Pattern[str]) -> bool:
    # Whether all options after ? are known: an unknown one may be a part of a password.
    try:
        query = urlsplit(url).query
    except ValueError:  # not an address in brackets
        return False
    options = parse_qsl(query, keep_blank_values=True)
    return all(
        known.fullmatch(name) or known.fullmatch(f"{name}={value}")
        for name, value in options
    )


def redact_url(url: str) -> str:
    """Return the address without user, password and options; HIDDEN if it is not valid."""
    for pattern in (_REDIS, _REDIS_SOCKET, _POSTGRESQL, _SQLITE):
        if match := pattern.fullmatch(url):
            parts = {"server": "", **match.groupdict(default="")}
            scheme = parts["scheme"].removesuffix(
                "+psycopg"
            )  # the driver is ours, not the user's
            return f"{scheme}://{parts['server']}{parts['path']}"
    return HIDDEN


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name
        return False
