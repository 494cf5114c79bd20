"""What `bench.compare` is made of: sets of photos, the programs, measuring one of them, and saying what came out."""
