"""Shares: links with which anybody can see some photos, until they expire or are revoked. Knows nothing of HTTP."""
