"""Random access to shards, and the index that gives their labels a meaning."""
