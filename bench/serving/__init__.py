"""What `bench.page` is made of: a large library, a real `tagger serve`, and what is measured of it."""
