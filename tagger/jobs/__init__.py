"""Jobs: everything that makes one (`enqueue`), and what runs its chunks (`processing`)."""
