"""Benchmarks that anyone can run; each prints Markdown to stdout. docs/how-to/benchmark.md lists them and explains their reports."""
