"""The `tagger` command: its commands, output and exit codes. No other package imports it."""
