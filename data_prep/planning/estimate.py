"""How much space and time a merge will take, roughly, and what that rests on."""

from dataclasses import dataclass

import numpy as np

from data_prep.planning.plan import Plan

# Encoded megabytes that one worker reads, decodes, hashes and writes in a second: 42 to 53 were seen with photographs
# of ImageNet and COCO on a core of an EPYC (Zen 5) with Pillow 13; benchmarks/merge_speed.py measures other machines.
MB_PER_SECOND = 40.0
_BYTES_PER_IMAGE, _BYTES_A_BOX, _BYTES_A_LABEL = 130, 42, 10  # of columns, in shards and index


@dataclass(frozen=True)
class Estimate:
    """Bytes of the merged folder, seconds of one worker, and in words what they were reckoned from."""

    size_bytes: int
    seconds: float
    basis: str


def estimate(plan: Plan) -> Estimate:
    """Of a merge from the beginning."""
    images, largest = plan.images, plan.config.resize_max
    sizes = images["size_bytes"].astype(np.float64)
    basis = "images as they are"
    if largest is not None:
        longer = np.maximum(images["stated_width"], images["stated_height"])
        is_larger = longer > largest
        sizes[is_larger] *= (largest / longer[is_larger]) ** 2
        basis = f"larger ones shrunk to {largest} px"
        if unknown := int((longer == 0).sum()):
            basis += f", the {unknown} whose size no annotation states taken as they are"
    columns = len(images) * _BYTES_PER_IMAGE + len(images["box_class"]) * _BYTES_A_BOX
    columns += len(images["label_class"]) * _BYTES_A_LABEL
    read = float(images["size_bytes"].sum())
    return Estimate(
        round(sizes.sum()) + columns,
        read / (MB_PER_SECOND * 1e6),
        f"{basis}; {MB_PER_SECOND:g} MB read, decoded and written a second by each worker",
    )
