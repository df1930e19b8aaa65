"""From labels to a tree: the algorithm of the paper, grafted classes, and the explanation of each node."""
