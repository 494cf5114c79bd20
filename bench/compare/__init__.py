"""The parts of `bench.compare`: programs, the measurement of one program, and the report."""

TOP_K = 5
"""The number of tags that every program stores for each photo."""
