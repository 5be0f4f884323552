"""PURE: numpy in, numpy out."""
