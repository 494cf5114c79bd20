"""Access to the page: named tokens, and the sessions of browsers that are signed in. Knows nothing of HTTP."""
