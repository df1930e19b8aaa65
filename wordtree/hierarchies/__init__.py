"""Other hierarchies than WordNet's, and the class lists of data sets."""
