"""The tree as text, as a graph and as an HTML page."""
