"""Recommendation algorithms beside `mix`."""
