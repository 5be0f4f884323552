"""One ingestion run: read, validate, compare, check quality, write, report."""
