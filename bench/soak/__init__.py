"""The parts of `python -m bench.soak`: what is run, how it is broken, what is measured meanwhile."""
