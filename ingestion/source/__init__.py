"""Client for the source API. PURE: no Django."""
