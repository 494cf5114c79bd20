"""The socket of the embedded Redis of a data folder. Imports no client of Redis, which takes long."""

from pathlib import Path

from tagger.system.permissions import require_safe

SOCKET_NAME = "redis.sock"


def embedded_url(data_folder: Path) -> str:
    """The address of the data folder's Redis, running or not.

    Raises:
        PermissionsUnsafe: other users can change its folder, and so take its place.
    """
    require_safe_folders(data_folder)
    return f"redis+socket://{socket_path(data_folder)}"


def has_socket(data_folder: Path) -> bool:
    """Whether the data folder's Redis has been started. One that is running has a socket.

    Raises:
        PermissionsUnsafe: other users can change its folder, and so take its place.
    """
    require_safe_folders(data_folder)
    return socket_path(data_folder).exists()


def require_safe_folders(data_folder: Path) -> None:
    """Check that nobody else can change the folders of the socket.

    Raises:
        PermissionsUnsafe: other users can.
    """
    require_safe(data_folder)
    require_safe(data_folder / "redis")


def socket_path(data_folder: Path) -> Path:
    """The path of the socket, which may not exist."""
    folder = data_folder.absolute() / "redis"
    link = short_folder(folder)
    return (link.readlink() if link.is_symlink() else folder) / SOCKET_NAME


def short_folder(folder: Path) -> Path:
    """A link to the folder of the socket, where the path of the usual one is too long.

    Nobody else can have made that folder, because its name is random. Only this user can change the link.
    """
    return folder / "socket-folder"
