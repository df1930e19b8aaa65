"""The immutable tree, and every question about it: names, lookup, queries, probabilities, files, lint."""
