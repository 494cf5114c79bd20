"""Verdicts: whether a landmark is in an image. They are final, whatever models predict before or after.

A verdict belongs to an image (a row of contents): copies and moved files share it, and it survives `forget`.
"""
