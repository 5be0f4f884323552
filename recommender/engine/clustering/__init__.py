"""K-means clusters of songs: fitting, number of clusters, warm start, names, affinities, feedback."""
