"""The parts of `bench.compare`: photo sets, programs, the measurement of one program, and the report."""
