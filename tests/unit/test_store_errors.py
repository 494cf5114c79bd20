"""What errors of Azure Blob Storage mean, as obstore raises them: listings and deletions have no class of their own for a refusal."""

import pytest

from tagger.photos.object_store import error_text, is_worth_repeating, lacks_rights

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


def test_a_deletion_without_the_right_to_delete_is_not_repeated() -> None:
    error = GenericError("Bulk delete request failed for key a.xmp: not authorized. (code: 403)")
    assert lacks_rights(error)
    assert not is_worth_repeating(error)
