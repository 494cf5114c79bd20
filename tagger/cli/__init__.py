"""The `tagger` command: what people type, what they read, exit codes. Sits above every other room."""
