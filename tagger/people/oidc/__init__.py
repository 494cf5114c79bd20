"""Sign-in at an OpenID Connect provider: what it says about itself, the request to it, and whom it has signed in. Knows nothing of the page."""
