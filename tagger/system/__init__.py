"""Modules that know nothing of photos: processes, permissions, addresses, metrics, texts and times."""
