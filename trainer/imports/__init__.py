"""Models of other programs as models of the tagger: Google's on-device landmark classifiers."""
