"""Files on disk: reading them before a write, replacing them atomically, and finding their sidecars."""
