"""People who use the page: their passwords and roles, named tokens, and sessions of browsers; `oidc` is sign-in at a provider. Knows
nothing of HTTP.
"""
