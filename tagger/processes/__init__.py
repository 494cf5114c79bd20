"""What a program does beside its work: signals, children, permissions, metrics, and the watch over it."""
