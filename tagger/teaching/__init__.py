"""Places of people's own: landmarks that they teach from a few photos."""
