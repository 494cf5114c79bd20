"""People who use the page: their passwords and roles, named tokens, and sessions of browsers; sign-in at an OpenID Connect provider. Knows
nothing of HTTP.
"""
