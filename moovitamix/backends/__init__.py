"""Adapted Django backends: limits of the database, a cache that survives Redis."""
