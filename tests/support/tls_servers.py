"""Redis and PostgreSQL servers with TLS, configured as docs/how-to/servers.md shows it.

Their programs are those of the system, as the builds in Python packages have no TLS.
"""

import pwd
import re
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import psycopg
import trustme
from redis import Redis
from rig.servers import PostgresServer, RedisServer, Server, free_port, postgres_error, start_child

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "servers.md").read_text()
USER = "nobody"  # PostgreSQL refuses to run as root


def redis_program() -> Path | None:
    """The system's Redis or Valkey. Debian's redis-tools has it under another name, without a service."""
    names = ("redis-server", "valkey-server", "redis-check-rdb")
    found = next(filter(None, map(shutil.which, names)), None)
    return Path(found) if found else None


def postgres_programs() -> Path | None:
    """The folder of the system's initdb and postgres."""
    found = shutil.which("initdb") or next(
        iter(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None
    )
    return Path(found).resolve().parent if found else None


def page_blocks(language: str, containing: str) -> list[str]:
    """The blocks of the page in this language that contain the text."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return [block for block in blocks if containing in block]


def with_replacements(text: str, replacements: Mapping[str, object]) -> str:
    for old, new in replacements.items():
        assert old in text, old
        text = text.replace(old, str(new))
    return text


def run_script(url: str, script: str) -> None:
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        for statement in script.split(";\n"):
            connection.execute(statement.encode())


def refused_objects(server: RedisServer) -> set[object]:
    """Which commands, keys and channels a Redis server has refused to limited users."""
    with server.client() as client:
        entries = client.execute_command("ACL", "LOG")
    # The client returns a dictionary, or names and values in turn.
    facts = (
        each if isinstance(each, dict) else dict(zip(each[::2], each[1::2], strict=True)) for each in entries
    )
    return {each[b"object"] for each in facts}


class Certificates:
    """An authority, and a certificate of "localhost", in a folder that the servers' user can read."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        authority = trustme.CA()
        issued = authority.issue_cert("localhost")
        self.authority, self.certificate, self.key = (
            folder / name for name in ("authority.crt", "server.crt", "server.key")
        )
        authority.cert_pem.write_to_path(str(self.authority))
        issued.cert_chain_pems[0].write_to_path(str(self.certificate))
        issued.private_key_pem.write_to_path(str(self.key))
        user = pwd.getpwnam(USER)
        for path in (self.certificate, self.key):
            shutil.chown(path, user.pw_uid, user.pw_gid)
        self.key.chmod(0o600)


class TlsRedisServer(RedisServer):
    """Redis with the configuration and the users of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.certificates = Certificates(self.folder)
        self.url = with_replacements(
            next(iter(re.findall(r"TAGGER_REDIS_URL=(\S+)", PAGE))),
            {
                "redis.example:6379": f"localhost:{self.port}",
                "/etc/tagger/authority.crt": self.certificates.authority,
            },
        )

    def client(self) -> Redis:
        return Redis.from_url(self.url, socket_timeout=5)

    def _launch(self) -> "subprocess.Popen[bytes]":
        users = self.folder / "users.acl"
        rules = page_blocks("text", "user tagger on")[0]
        users.write_text(rules)
        configuration = with_replacements(
            page_blocks("text", "tls-port")[0],
            {
                "/etc/redis/users.acl": users,
                "tls-port 6379": f"tls-port {self.port}",
                "/etc/redis/redis.example.crt": self.certificates.certificate,
                "/etc/redis/redis.example.key": self.certificates.key,
            },
        )
        file = self.folder / "redis.conf"
        file.write_text(f"{configuration}\nbind 127.0.0.1\ndir {self.folder}\n")
        program = self.folder / "redis-server"
        if not program.exists():
            program.symlink_to(redis_program() or "redis-server")  # it does what its name says
        return start_child([str(program), str(file)])


class TlsPostgresServer(Server):
    """PostgreSQL with the configuration of the page, and with its roles, database and schema rights."""

    STOP_SIGNAL = PostgresServer.STOP_SIGNAL
    KILL_SIGNAL = PostgresServer.KILL_SIGNAL

    def __init__(self) -> None:
        super().__init__("postgres")
        self.port = free_port()
        self.folder.chmod(0o755)
        self.certificates = Certificates(self.folder / "certificates")
        self._programs = postgres_programs() or Path()
        self._data = self.folder / "data"
        self._data.mkdir()
        user = pwd.getpwnam(USER)
        shutil.chown(self._data, user.pw_uid, user.pw_gid)
        command = [self._programs / "initdb", "-D", self._data, "-U", "postgres", "--auth=trust", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, user=USER, cwd="/")
        self._superuser_url = f"postgresql://postgres@/postgres?host={self._data}&port={self.port}"
        self._write_configuration()

    def url(self, role: str, password: str, **replacements: str) -> str:
        """The address of the page for this role; `replacements` change parts of it."""
        address = next(
            address
            for address in re.findall(r"(postgresql://\S+sslmode\S+)", PAGE)
            if "tagger_owner" not in address
        )
        return with_replacements(
            address,
            {
                "//tagger:PASSWORD": f"//{role}:{password}",
                "db.example": f"localhost:{self.port}",
                "/etc/tagger/authority.crt": self.certificates.authority,
                **replacements,
            },
        )

    def create_roles(self) -> None:
        as_superuser, as_owner, _after_upgrade = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
        run_script(self._superuser_url, as_superuser)
        run_script(self.url("tagger_owner", "OWNER_PASSWORD"), as_owner)

    def _write_configuration(self) -> None:
        configuration = with_replacements(
            page_blocks("text", "ssl_cert_file")[0],
            {
                "/etc/postgresql/db.example.crt": self.certificates.certificate,
                "/etc/postgresql/db.example.key": self.certificates.key,
            },
        )
        with (self._data / "postgresql.conf").open("a") as file:
            file.write(configuration)
        rules = (
            page_blocks("text", "hostssl")[0].replace("10.0.0.0/8", "127.0.0.0/8").replace("peer", "trust")
        )
        (self._data / "pg_hba.conf").write_text(rules)

    def _launch(self) -> "subprocess.Popen[bytes]":
        options = ["-h", "127.0.0.1", "-p", str(self.port), "-k", str(self._data), "-c", "fsync=off"]
        return start_child([str(self._programs / "postgres"), "-D", str(self._data), *options], user=USER)

    def _connection_error(self) -> Exception | None:
        return postgres_error(self._superuser_url)
