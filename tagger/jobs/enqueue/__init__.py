"""Everything that makes a job: scans, backfills, retries, metadata jobs, schedules."""
