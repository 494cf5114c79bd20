"""The catalog: roots, landmarks, registered models, and the removal of photos."""
