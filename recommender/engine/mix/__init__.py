"""`mix`, the default model: a weighted blend of neighbour votes, taste directions and cluster affinities."""
