"""The execution of a plan: workers, progress, restart after interruption."""
