"""Benchmarks that anyone can run; docs/how-to/benchmark.md lists them and explains their reports."""
