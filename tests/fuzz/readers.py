"""All harnesses by name."""

from tests.fuzz import networks, results, shards, sources, trees

HARNESSES = {
    harness.name: harness
    for group in (trees, sources, shards, networks, results)
    for harness in group.HARNESSES
}
