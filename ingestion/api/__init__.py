"""REST endpoints for songs, users, listening history and runs."""
