"""Hierarchies and class lists other than WordNet, and their conversion to and from trees."""
