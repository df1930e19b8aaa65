"""Random access to a merged data set: the index, the reader, label counts."""
