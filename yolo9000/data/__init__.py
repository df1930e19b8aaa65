"""From shards and image files to `Batch`."""
