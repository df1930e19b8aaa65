"""All harnesses by name."""

from tests.fuzz import networks, onnx_files, results, shards, sources, trees

HARNESSES = {
    harness.name: harness
    for group in (trees, sources, shards, networks, onnx_files, results)
    for harness in group.HARNESSES
}
