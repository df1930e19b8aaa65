"""Darknet's file formats as plain data."""
