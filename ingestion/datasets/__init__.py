"""PURE: readers of other data sets; they return rows in the source's format."""
