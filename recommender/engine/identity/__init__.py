"""Recognises texts that mean the same genre, artist or recording."""
