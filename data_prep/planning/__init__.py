"""The deterministic plan of a merge: images, splits, shards, duplicates, cost."""
