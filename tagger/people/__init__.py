"""People of the page: passwords and roles, named tokens, sessions of browsers; `oidc` is sign-in at a provider. Knows nothing of HTTP."""
