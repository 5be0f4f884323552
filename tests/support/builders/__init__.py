"""Rows and models that tests start from."""
