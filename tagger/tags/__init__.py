"""The tags of images: the rule that decides which landmarks count, and what it decided, stored."""
