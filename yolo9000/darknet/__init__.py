"""Darknet's own files and network: `.cfg`, `.weights`, `.data`, and every layer by Darknet's rules."""
