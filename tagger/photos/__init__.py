"""Photos in folders and buckets: listing them, reading them within limits, detecting their format, identifying their image.

`decoding` makes pixels of them; of RAW files (`raw`), it decodes the previews.
"""
