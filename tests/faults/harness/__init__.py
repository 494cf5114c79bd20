"""Faults of workers, servers and files, the system that they are injected into, and what must hold afterwards."""
