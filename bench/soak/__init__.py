"""The parts of `python -m bench.soak`: the system under test, the faults, the measurement of recoveries, and the report."""
