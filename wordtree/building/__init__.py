"""Trees from labels: the algorithm of the paper, custom classes, and an explanation of each node."""
