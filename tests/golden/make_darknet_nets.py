"""Make tests/golden/darknet_nets: small networks with the output of every layer, by tests/darknet_net_twin.py.

    python -m tests.golden.make_darknet_nets [FOLDER]

The layout is the same as in the folder `nets` of `DARKNET_GOLDEN`: NAME.cfg, NAME.weights, NAME.npz with `input` and
`layer_00` …; trees are beside them.
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np

from tests import darknet_net_twin as twin

FOLDER = Path(__file__).parent / "darknet_nets"
PARENTS = [-1, -1, -1, 0, 0, 1, 3, 3, 5, 5, 5]  # an only child (5), three levels
HEADERS = {  # major, minor, revision; seen
    "tree_detector": (0, 2, 0, 32013312),
    "flat_detector": (0, 1, 0, 64000),
    "odd_layers": (0, 2, 5, 2**40 + 1),
    "tree_classifier": (1, 0, 0, 7),
}
NETS = {
    "tree_detector": """
        net width=32,height=16,channels=3
        convolutional batch_normalize=1,filters=4,size=3,stride=1,pad=1,activation=leaky
        maxpool size=2,stride=2
        convolutional batch_normalize=1,filters=8,size=3,stride=1,pad=1,activation=leaky
        maxpool size=2,stride=2
        convolutional batch_normalize=1,filters=6,size=3,stride=1,pad=1,activation=leaky
        route layers=-3
        convolutional batch_normalize=1,filters=4,size=1,stride=1,pad=1,activation=leaky
        reorg stride=2
        route layers=-1,-4
        dropout probability=.4
        convolutional filters=32,size=1,stride=1,pad=1,activation=linear
        region anchors=.8,1.1,2.5,1.75,bias_match=1,classes=11,coords=4,num=2,softmax=1,thresh=.6,tree=kinds.tree
        """,
    "flat_detector": """
        net width=20,height=12,channels=3
        convolutional batch_normalize=1,filters=4,size=3,stride=2,pad=1,activation=leaky
        convolutional filters=8,size=3,stride=1,padding=1,groups=2,activation=relu
        reorg3d stride=2
        convolutional batch_normalize=1,filters=4,size=1,activation=elu
        convolutional filters=8,size=1,activation=linear
        region anchors=1,1.5,classes=3,num=1,softmax=0
        """,
    "odd_layers": """
        net width=13,height=9,channels=2
        convolutional batch_normalize=1,filters=3,size=3,stride=1,pad=1,activation=tanh
        maxpool size=2,stride=2
        convolutional filters=4,size=2,stride=1,pad=1
        maxpool size=2,stride=1
        reorg stride=2,reverse=1
        maxpool size=3,stride=2
        convolutional filters=6,size=3,stride=2,padding=2,activation=hardtan,flipped=1
        maxpool size=3,padding=0,stride=1
        convolutional filters=6,size=1,activation=relie
        avgpool
        softmax groups=3,temperature=2
        """,
    "tree_classifier": """
        net width=8,height=8,channels=3
        convolutional batch_normalize=1,filters=4,size=3,stride=1,pad=1,activation=leaky
        maxpool size=2,stride=2
        convolutional filters=11,size=1,stride=1,pad=1,activation=linear
        avgpool
        softmax groups=1,tree=kinds.tree
        cost type=masked
        """,
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = (f"n{node:08d} {parent}\n" for node, parent in enumerate(PARENTS))
    (folder / "kinds.tree").write_text("".join(lines))
    for seed, (name, net) in enumerate(NETS.items()):
        rng = np.random.default_rng(seed)
        text = cfg_text(net)
        weights = struct.pack("<iii", *HEADERS[name][:3])
        wide = HEADERS[name][0] * 10 + HEADERS[name][1] >= 2
        weights += struct.pack("<Q" if wide else "<I", HEADERS[name][3]) + random_weights(text, rng)
        (_, options), *_ = twin.read_cfg(text)
        image = rng.random([int(options[key]) for key in ("channels", "height", "width")], np.float32)
        outputs = twin.all_outputs(text, weights, image, PARENTS)
        (folder / f"{name}.cfg").write_text(text)
        (folder / f"{name}.weights").write_bytes(weights)
        layers = {f"layer_{k:02d}": output.astype(np.float32) for k, output in enumerate(outputs)}
        np.savez_compressed(folder / f"{name}.npz", input=image, **layers)


def cfg_text(net: str) -> str:
    """The cfg of a network with one section per line: name, blank, options separated by commas."""
    sections = []
    for line in net.strip().splitlines():
        name, _, rest = line.strip().partition(" ")
        options: list[str] = []
        for option in rest.split(",") if rest else []:
            if "=" in option:
                options.append(option)
            else:  # a further number of a list
                options[-1] += f",{option}"
        sections.append("\n".join([f"[{name}]", *options]) + "\n")
    return "\n".join(sections)


def random_weights(text: str, rng: np.random.Generator) -> bytes:
    """Random weights of every convolution, in the order of the file."""
    channels: list[int] = []  # of each layer's output
    (_, net), *layers = twin.read_cfg(text)
    before, parts = int(net["channels"]), list[np.ndarray]()
    for index, (name, options) in enumerate(layers):
        if name == "[convolutional]":
            filters, size, groups = (int(options.get(key, 1)) for key in ("filters", "size", "groups"))
            parts.append(rng.normal(0, 0.3, filters))
            if options.get("batch_normalize") == "1":
                parts += [
                    rng.uniform(0.5, 1.5, filters),
                    rng.normal(0, 0.5, filters),
                    rng.uniform(0.3, 2, filters),
                ]
            fan_in = before // groups * size**2
            parts.append(rng.normal(0, (2 / fan_in) ** 0.5, filters * fan_in))
            before = filters
        elif name == "[route]":
            sources = [int(number) for number in options["layers"].split(",")]
            before = sum(channels[index + k if k < 0 else k] for k in sources)
        elif name in ("[reorg]", "[reorg3d]"):
            by = int(options["stride"]) ** 2
            before = before // by if options.get("reverse") == "1" else before * by
        channels.append(before)
    return b"".join(part.astype("<f4").tobytes() for part in parts)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
