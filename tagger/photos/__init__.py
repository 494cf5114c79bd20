"""Photos in folders and buckets: listing, reading within limits, detecting formats, identifying images.

`decoding` makes pixels of them; of RAW files (`raw`), it decodes the previews.
"""
