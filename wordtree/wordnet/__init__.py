"""WordNet's nouns: the graph that ships with the package, an installed WordNet, and the meaning of words."""
