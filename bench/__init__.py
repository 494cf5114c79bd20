"""Benchmarks that anyone can run; each prints Markdown to stdout.

`bench.compare` compares the tagger with other designs. docs/how-to/benchmark.md lists all benchmarks and explains their reports;
docs/explanation/performance.md has results. `bench.soak` and `bench.fuzz` measure nothing: they inject faults and check that no
photo is lost.
"""
