"""The noun graph of WordNet 3.0: shipped or installed, and the synsets that a label means."""
