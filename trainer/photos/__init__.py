"""Photos to learn from: found under their labels, told apart, decoded once, some of them held out."""
