"""People who use the page: their passwords and roles, named tokens, and sessions of browsers. Knows nothing of HTTP."""
