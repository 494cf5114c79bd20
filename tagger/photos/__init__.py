"""Photos in folders: listing them, reading them within limits, detecting their format, identifying their image.

Knows nothing of pixels (see images).
"""
