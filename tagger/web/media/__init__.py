"""Photo files, thumbnails and placeholders for display."""
