"""The parts of `bench.metadata`: the round trip of one photo, the commands over many photos, and the check with exiftool."""
