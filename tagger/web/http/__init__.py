"""HTTP: access, authentication, limits, query parameters, responses and templates."""
