"""The plan of a merge: which images, which classes, which splits."""
