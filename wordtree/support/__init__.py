"""What the three programs share: exit codes, atomic files, configuration files, locks, suggestions, printing."""
