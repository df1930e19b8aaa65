"""The network of a detector in ncnn and in Darknet, for comparison.

ncnn: `pip install ncnn pnnx`. Darknet: an executable built from its source, for example of Debian's package `darknet`.
"""

from __future__ import annotations

import copy
import os
import subprocess
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from yolo9000.checkpoints.checkpoint import DetectorCheckpoint
from yolo9000.checkpoints.darknet_export import write_darknet
from yolo9000.export.network import NetworkGraph
from yolo9000.models import Detector
from yolo9000.models.folding import fold_detector

MAX_DIFFERENCE = 1e-3  # of ncnn from PyTorch, relative to the largest output


def has_ncnn() -> bool:
    """Whether ncnn and its converter are installed."""
    return find_spec("ncnn") is not None and find_spec("pnnx") is not None


def ncnn_network(detector: Detector, images: Tensor, *, threads: int) -> Callable[[], None]:
    """A function that runs the network in float32 on the images, one after the other, as ncnn has no batches.

    AssertionError if the first image has another output than in PyTorch.
    """
    import ncnn

    folded = copy.deepcopy(detector)
    fold_detector(folded)
    network = NetworkGraph(folded).eval()
    net = ncnn.Net()
    net.opt.num_threads = threads
    with TemporaryDirectory() as folder:
        _convert_to_ncnn(network, images[:1], Path(folder))
        net.load_param(str(Path(folder) / "net.ncnn.param"))
        net.load_model(str(Path(folder) / "net.ncnn.bin"))
    inputs = [np.ascontiguousarray(image) for image in images.numpy()]

    def output_of(image: np.ndarray) -> np.ndarray:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(image))
        return np.array(extractor.extract("out0")[1])

    with torch.inference_mode():
        expected = network(images[:1])[0][0].numpy()
    difference = np.abs(output_of(inputs[0]) - expected).max()
    assert difference <= MAX_DIFFERENCE * np.abs(expected).max(), f"ncnn differs by {difference}"

    def run() -> None:
        for image in inputs:
            output_of(image)

    return run


def _convert_to_ncnn(network: NetworkGraph, image: Tensor, folder: Path) -> None:
    """Write `net.ncnn.param` and `net.ncnn.bin` for images of the size of this one."""
    import pnnx

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # pnnx reads only what the older exporter writes
        torch.jit.trace(network, (image,), strict=False).save(str(folder / "net.pt"))
    shape = ",".join(map(str, image.shape))
    command = [pnnx.EXEC_PATH, "net.pt", f"inputshape=[{shape}]", "fp16=0"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def darknet_seconds(darknet: Path, checkpoint: DetectorCheckpoint, *, images: int, threads: int) -> float:
    """Seconds for each image of `darknet detector test`: CPU time with one thread, wall time with more.

    It decodes and draws each image too, which takes little. Start and loading are left out: the time of a run with one
    image is subtracted. darknet: the executable, in the folder of its source, from which it reads letters to draw.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_darknet(checkpoint, folder / "net.weights")
        cfg = folder / "net.cfg"
        # [reorg3d] is [reorg] in another order, and only AlexeyAB's Darknet has it.
        cfg.write_text(cfg.read_text("latin-1").replace("[reorg3d]", "[reorg]"), "latin-1")
        (folder / "net.data").write_text(f"names = {folder / 'net.names'}\n")
        noise = np.random.default_rng(0).integers(0, 256, (*checkpoint.config.model.wh_px[::-1], 3), np.uint8)
        Image.fromarray(noise).save(folder / "noise.jpg")
        short, long = (_seconds_of_run(darknet, folder, count, threads) for count in (1, 1 + images))
    return (long - short) / images


def _seconds_of_run(darknet: Path, folder: Path, count: int, threads: int) -> float:
    """Seconds of a run over `count` images; AssertionError if Darknet does not predict on each."""
    files = [str(folder / name) for name in ("net.data", "net.cfg", "net.weights")]
    before, start = getrusage(RUSAGE_CHILDREN), perf_counter()
    done = subprocess.run(
        [str(darknet.resolve()), "detector", "test", *files],
        cwd=darknet.resolve().parent,
        input=f"{folder / 'noise.jpg'}\n" * count,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("Predicted in") == count, done.stdout[-500:] + done.stderr[-500:]
    wall, after = perf_counter() - start, getrusage(RUSAGE_CHILDREN)
    of_cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return of_cpu if threads == 1 else wall
