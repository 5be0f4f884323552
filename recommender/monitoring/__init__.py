"""Alerts and health checks of the recommender, and drift of listening and of the catalogue."""
