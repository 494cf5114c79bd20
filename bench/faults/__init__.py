"""The parts of `python -m bench.faults`: the system under test and the kinds of faults, by what they break."""
