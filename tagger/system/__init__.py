"""The operating system: signals, standard streams and the permissions of files."""
