"""Packed images: the HDF5 files, their format, and the encoding of images."""
