"""A rough estimate of the space and time that a merge takes."""

from dataclasses import dataclass

import numpy as np

from data_prep.planning.plan import Plan

# Encoded megabytes that one worker reads, decodes, hashes and writes per second. Photographs of ImageNet and COCO
# reached 42 to 53 on a core of an EPYC (Zen 5) with Pillow 13; benchmarks/merge_speed.py measures other machines.
MB_PER_SECOND = 40.0
_BYTES_PER_IMAGE, _BYTES_PER_BOX, _BYTES_PER_LABEL = 130, 42, 10  # of columns, in shards and index


@dataclass(frozen=True)
class Estimate:
    """Bytes of the merged folder, seconds for one worker, and the assumptions in words."""

    size_bytes: int
    seconds: float
    basis: str


def estimate(plan: Plan) -> Estimate:
    """The estimate for a merge from the beginning."""
    images, largest = plan.images, plan.config.resize_max
    sizes = images["size_bytes"].astype(np.float64)
    basis = "images unchanged"
    if largest is not None:
        longer = np.maximum(images["stated_width"], images["stated_height"])
        is_larger = longer > largest
        sizes[is_larger] *= (largest / longer[is_larger]) ** 2
        basis = f"larger images resized to {largest} px"
        if unknown := int((longer == 0).sum()):
            basis += f", the {unknown} images without a stated size unchanged"
    columns = len(images) * _BYTES_PER_IMAGE + len(images["box_class"]) * _BYTES_PER_BOX
    columns += len(images["label_class"]) * _BYTES_PER_LABEL
    read = float(images["size_bytes"].sum())
    return Estimate(
        round(sizes.sum()) + columns,
        read / (MB_PER_SECOND * 1e6),
        f"{basis}; {MB_PER_SECOND:g} MB read, decoded and written per second and worker",
    )
