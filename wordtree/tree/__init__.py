"""The immutable tree: names, lookup, queries, probabilities, files, lint."""
