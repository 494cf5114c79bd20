"""The `trainer` command. Each command imports its implementation when it runs, so that help never loads torch."""
