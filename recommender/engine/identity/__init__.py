"""When two texts mean the same genre, artist or recording."""
