"""The parts of `bench.page`: a large library, a real `tagger serve`, and the measurements."""
