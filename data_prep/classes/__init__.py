"""From the classes of the sources to the nodes of the tree, by a label map that people can review."""
