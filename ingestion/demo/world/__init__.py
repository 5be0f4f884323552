"""The synthetic songs, listeners and listening sessions that the demo source serves."""
