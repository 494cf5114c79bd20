"""The console script `trainer`: one module per group of commands, which import what they run only when they run."""
