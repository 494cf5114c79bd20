"""The metadata blocks of JPEG, PNG, WebP and TIFF files: read, and replaced in place without encoding the image again.

Every change is a splice. Offsets and sizes that span a splice are adjusted; a file whose offsets cannot be adjusted is
refused. `difference_outside_blocks` checks the result independently. Knows nothing of the blocks' content.
"""
