"""What is kept of what follows from photos: positions, visits, numbers and trips; and their update."""
