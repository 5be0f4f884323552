"""Fill a database to the size that a benchmark needs."""
