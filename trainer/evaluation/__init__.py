"""How good an artifact is on photos it has never seen, run as the tagger runs it.

Knows nothing of reports (see report): what comes out is figures, each with its interval.
"""

from trainer.evaluation.evaluate import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
