"""PURE: the twin of the source API, with listeners whose tastes are known."""
