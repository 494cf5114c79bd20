"""The ledger: jobs and items in SQL, which is the truth about work; Redis only carries messages."""
