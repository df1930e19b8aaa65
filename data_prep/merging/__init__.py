"""The execution of a plan: worker processes, progress, resuming after an interruption."""
