"""Incidents, their messages, and notifications about them."""
