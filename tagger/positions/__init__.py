"""Where photos were taken: from their camera, the landmarks in them, GPS tracks, and photos taken shortly before and after."""
