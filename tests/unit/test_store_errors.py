"""What refusals of object stores mean, from errors as obstore raises them."""

import pytest

from tagger.photos.object_store import error_text, is_worth_repeating

GenericError = pytest.importorskip("obstore.exceptions").GenericError
LISTED = (
    "Error performing list request: Server returned non-2xx status code: {}: <Error><Code>{}</Code></Error>"
)


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        ("404 Not Found", "ContainerNotFound", "there is no such bucket"),
        ("403 Forbidden", "AuthenticationFailed", "the server refuses access (AuthenticationFailed)"),
        ("403 Forbidden", "AuthorizationPermissionMismatch", "the server refuses access"),
    ],
)
def test_a_listing_that_is_refused_says_why(status: str, code: str, reason: str) -> None:
    error = GenericError(LISTED.format(status, code))
    assert error_text(error).startswith(reason)
    assert not is_worth_repeating(error)
