"""What knows nothing of photos: processes, permissions of files, HTTP, addresses, tracing, metrics, and how texts and times are written."""
