"""Photos in folders: listing them, reading them within limits, detecting their format, identifying their image.

Pixels are made in `decoding`, from RAW files by their previews (`raw`).
"""
