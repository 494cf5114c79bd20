"""Modules that know nothing of photos: processes, permissions of files, HTTP, addresses, metrics, and the text of numbers and times."""
