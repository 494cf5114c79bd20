"""The catalog: the folders and buckets that were scanned, cameras, and pairs of RAW file and JPEG."""
