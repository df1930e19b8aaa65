"""Untrusted files read in bounded memory: JSON, CSV, text, tar, image folders."""
