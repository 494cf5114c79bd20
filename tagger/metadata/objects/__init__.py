"""Objects in buckets: reading them before a write, replacing them under a condition, and finding their sidecars."""
