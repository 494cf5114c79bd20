"""What is written in photo files beside the picture: reading what the camera noted."""
