"""Search by typed text: what it can mean (a landmark, a place, dates, …), best first; without SQL."""
