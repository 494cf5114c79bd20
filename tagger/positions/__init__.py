"""Where photos were taken: by their camera, landmarks, GPS tracks, and photos taken before and after."""
