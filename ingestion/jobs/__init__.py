"""Lock, heartbeats and resource measurement of background jobs."""
