"""People who use the page: passwords and roles, named tokens, and sessions. Knows nothing of HTTP."""
