"""Google Landmarks v2, a public data set of 4.1 million photos of 203,094 landmarks: its files, and what a model makes of them."""
