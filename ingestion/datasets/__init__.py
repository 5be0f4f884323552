"""PURE: data sets from elsewhere, as rows of the shape the source sends."""
