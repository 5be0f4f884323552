"""Incidents, their messages, and the delivery of notifications about them."""
