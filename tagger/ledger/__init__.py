"""The ledger: jobs, items and chunks in SQL. SQL is the truth about work; Redis only carries messages."""
