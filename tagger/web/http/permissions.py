"""What each role may request. A route that is not named here is refused to viewers if it changes something."""

from tagger.people.grants import Grant, Role

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_VIEWER_POSTS = frozenset({"/", "/api/predict", "/sign-out", "/account/password", "/account/sessions/end"})
"""What a viewer may send: photos to classify, of which nothing is stored, and changes of the own account."""
_VIEWER_HIDDEN = frozenset({"/api/folders", "/api/shares", "/jobs/new", "/jobs/schedules/new"})
"""What a viewer may not read: these list folders of the server, to start jobs in them, and who else sees photos."""
_HIDDEN_BELOW = "/api/shares/"
_ADMIN_PATHS = ("/admin/", "/api/admin/")
"""All routes about other people's access are below these, and no other routes."""
_READ_ONLY = "Your access is read-only: you can search photos and classify uploads. Sign in with another token or name to make changes."
_NO_ADMIN = "Only admins may do this. Ask one of them."


def refusal(grant: Grant, method: str, path: str) -> str | None:
    """Return why the request exceeds its role; None if it is allowed."""
    if path.startswith(_ADMIN_PATHS) and grant.role is not Role.ADMIN:
        return _NO_ADMIN
    if grant.role is not Role.VIEWER:
        return None
    if method not in SAFE_METHODS:
        is_allowed = path in _VIEWER_POSTS
    else:
        is_allowed = path not in _VIEWER_HIDDEN and not path.startswith(_HIDDEN_BELOW)
    return None if is_allowed else _READ_ONLY
