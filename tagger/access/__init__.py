"""Access to the page: people with passwords and roles, named tokens, and the sessions of their browsers. Knows nothing of HTTP."""
