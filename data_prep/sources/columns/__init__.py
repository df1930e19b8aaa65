"""Labels and names of millions of images in compact columns."""
