"""The metadata of photo files: reading capture time and position, and writing tags to XMP, EXIF and IPTC."""
