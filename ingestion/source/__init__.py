"""PURE: read the source API; nothing here knows Django."""
