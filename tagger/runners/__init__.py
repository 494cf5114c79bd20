"""What runs a network's forward passes: the artifact's own TorchScript, or another engine that computes the same.

TorchScript is the truth: every other runner is made from it where it runs, and is taken only if a self-test says that
it agrees and is clearly faster (see `choosing`).
"""

from tagger.runners.interface import Images, Runner, Scores

__all__ = ["Images", "Runner", "Scores"]
