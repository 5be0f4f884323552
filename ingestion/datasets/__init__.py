"""Readers of other data sets, which return rows in the source's format; they do not use Django."""
