"""How results, progress and messages are printed."""
