"""The `trainer` command. Each command imports its implementation when it runs: help never loads torch."""
