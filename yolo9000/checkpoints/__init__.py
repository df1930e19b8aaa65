"""Saving, loading, initialising and converting weights."""
