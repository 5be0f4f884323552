"""K-means clusters of songs: fitting, number of clusters, labels, affinities, feedback."""
