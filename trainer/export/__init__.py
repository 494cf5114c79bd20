"""From a trained network to the exported file: calibration, the run on disk, and the artifact."""
