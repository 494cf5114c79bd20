"""What each role may request of the page."""

import pytest

from tagger.database.enums import Role
from tagger.people.tokens import Grant
from tagger.web.http.auth import refusal


@pytest.mark.parametrize(
    ("role", "method", "path", "is_allowed"),
    [
        (Role.VIEWER, "GET", "/places", True),
        (Role.VIEWER, "POST", "/api/predict", True),
        (Role.VIEWER, "GET", "/api/folders", False),
        (Role.VIEWER, "POST", "/api/anything-new", False),
        (Role.VIEWER, "GET", "/admin/users", False),
        (Role.EDITOR, "POST", "/api/anything-new", True),
        (Role.EDITOR, "GET", "/api/folders", True),
        (Role.EDITOR, "GET", "/admin/anything-new", False),
        (Role.EDITOR, "GET", "/api/admin/anything-new", False),
        (Role.ADMIN, "POST", "/admin/users", True),
    ],
)
def test_a_role_may_do_what_it_is_for(role: Role, method: str, path: str, is_allowed: bool) -> None:
    assert (refusal(Grant("ada", role), method, path) is None) == is_allowed
