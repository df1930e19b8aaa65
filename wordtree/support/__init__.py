"""Shared by the three programs: exit codes, files, configuration, locks, progress, suggestions, printing."""
