"""Search by typed text: what it can mean (a landmark, a place, dates, a folder, a file, a trip), best first. Knows nothing of SQL."""
