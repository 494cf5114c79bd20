"""From a photo in a source to a result: requests, readers, buffers, batches. Knows nothing of jobs or SQL."""
