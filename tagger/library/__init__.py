"""What is known of photos: their landmarks, positions and trips, verdicts and taught landmarks; queries and searches."""
