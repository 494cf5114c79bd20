"""Names the landmarks in photos: finding, decoding, recognising, remembering."""
