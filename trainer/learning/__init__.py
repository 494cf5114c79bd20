"""Training of networks: batches, the training loop, checkpoints, the linear layer, and the classifier."""
