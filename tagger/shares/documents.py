"""Shares as JSON, for the command line and the API."""

from typing import Any

from tagger.shares.links import Share


def share_document(share: Share) -> dict[str, Any]:
    """A share. `options` are those of its query, in words `description`, or null for a fixed selection, which has `photos` photos.

    The API describes a query in the words of the page instead.
    """
    times = {name: getattr(share, name) for name in ("created_at", "expires_at", "revoked_at")}
    return {
        "id": share.id,
        "name": share.name,
        "state": share.state,
        "options": share.options,
        "description": share.photos_text,
        "photos": share.photos,
        "with_positions": share.with_positions,
        "author": share.author,
        **{name: time and time.isoformat() for name, time in times.items()},
    }
