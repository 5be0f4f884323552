"""Client for the source API; it does not use Django."""
