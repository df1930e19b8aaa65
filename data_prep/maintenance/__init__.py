"""After the merge: check, repair, relabel."""
