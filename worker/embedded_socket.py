"""The socket of the embedded Redis of a database. Imports no client of Redis, which takes long."""

from pathlib import Path

from tagger.processes.permissions import require_safe

SOCKET_NAME = "redis.sock"


def embedded_url(data_folder: Path, ledger_id: str) -> str:
    """The address of the ledger's Redis, running or not.

    Raises:
        PermissionsUnsafe: other users can change its folder, and so take its place.
    """
    require_safe_folders(data_folder, ledger_id)
    return f"redis+socket://{socket_path(data_folder, ledger_id)}"


def has_socket(data_folder: Path, ledger_id: str) -> bool:
    """Whether the ledger's Redis has been started. One that is running has a socket.

    Raises:
        PermissionsUnsafe: other users can change its folder, and so take its place.
    """
    require_safe_folders(data_folder, ledger_id)
    return socket_path(data_folder, ledger_id).exists()


def server_folder(data_folder: Path, ledger_id: str) -> Path:
    return data_folder / "redis" / ledger_id


def require_safe_folders(data_folder: Path, ledger_id: str) -> None:
    """Check that nobody else can change the folders of the socket.

    Raises:
        PermissionsUnsafe: other users can.
    """
    folder = server_folder(data_folder, ledger_id)
    for each in (data_folder, folder.parent, folder):
        require_safe(each)


def socket_path(data_folder: Path, ledger_id: str) -> Path:
    folder = server_folder(data_folder.absolute(), ledger_id)
    link = short_folder(folder)
    return (link.readlink() if link.is_symlink() else folder) / SOCKET_NAME


def short_folder(folder: Path) -> Path:
    """A link to the folder of the socket, where the path of the usual one is too long.

    Nobody else can have made that folder, because its name is random. Only this user can change the link.
    """
    return folder / "socket-folder"
