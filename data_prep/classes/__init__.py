"""Matches the classes of the sources to nodes of the tree, with a label map for review."""
