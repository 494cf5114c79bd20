"""Visitors: people who have the link of a share. They need no sign-in, and see the addresses of shares alone."""

from tagger.people.grants import Grant, Role

LINKS = "/s/"
"""The address of each link is below it. It sets a cookie, and leads to the share."""
SHARES = "/shared/"
"""All that visitors see is below it."""
VISITOR = Grant("visitor", Role.VIEWER)


def is_for_visitors(path: str) -> bool:
    """Return whether the path is that of a link or a share, which decide themselves who sees what."""
    return path.startswith((LINKS, SHARES))
