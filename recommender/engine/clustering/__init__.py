"""K-means clusters of songs."""
