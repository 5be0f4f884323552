"""Client for the source API: pages, retries, limits and validation. Pure Python, no Django."""
