"""Benchmarks that anyone can run; each prints Markdown to stdout. docs/how-to/benchmark.md lists them and explains their reports.

`bench.faults` and `bench.fuzz` measure little: they inject faults and corrupt photos, and check that nothing is lost.
"""
