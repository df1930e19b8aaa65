"""Choose the classes of the generated world: with boxes, with image labels only, or unused.

    python scripts/make_emoji_table.py EMOJI_SYNSETS.csv data_prep/assets/emoji_classes.csv

EMOJI_SYNSETS.csv describes each emoji, judged by eye (columns emoji, codepoint, wnid, synset, physical, view,
confidence). The rules, in this order:

1. Only drawings that certainly show one whole object or one face (physical = yes, confidence = high, view =
   whole or face).
2. `EXCLUDED` lists drawings that are indistinguishable or invisible at 30 pixels, with reasons.
3. A class above other classes in the tree (*hat* above *top hat*) is unused, unless COCO has it: then it is
   the boxed half of a pair, as in the paper (*car* with boxes, *ambulance* with image labels).
4. Classes are taken in pairs, nearest in the tree first; among equally near pairs those with the deepest
   common ancestor; among these the pair whose drawings differ most. A pair is skipped if one of its drawings
   looks like an earlier one, or if `PAIRS_PER_PARENT` pairs with the same common ancestor are taken.
5. In each pair the ancestor is boxed; otherwise the class that COCO has; otherwise the class of lower depth;
   otherwise the first by wnid. The other class has image labels only.

So every label-only class has a boxed relative nearby. Classes that are not taken have the role `unused`; the
column `under` names the nearest boxed ancestor of a class, if it has one.
"""

import csv
import itertools
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from data_prep.synthetic.emoji_table import COLUMNS, drawing_key, twemoji_folder
from wordtree import WordTree, build_tree, coco_classes

PAIRS = 62
PAIRS_PER_PARENT = 3
ALIKE = 0.17  # thumbnails with a smaller difference (root mean square, channels 0..1) count as equal
THUMBNAIL_PX = 24

EXCLUDED = {
    "1faa1": "thin line: needle",
    "1f578": "thin lines: spider web",
    "1f5d1": "see-through: wastebasket",
    "1f4ce": "thin line: paper clip",
    "1f9af": "thin line: cane",
    "1f9f7": "thin line: safety pin",
    "1fa7c": "thin line: crutch",
    "1f6ac": "mostly smoke: cigarette",
    "1fab8": "thin branches: coral",
    "1f9f5": "drawn like its thread: spool",
    "1f404": "three spotted or brown cattle in side view: cow is shown by its face",
    "1f402": "as the other cattle: ox",
    "1f42a": "one hump of difference: the bactrian camel stands for camels",
    "1f40f": "a sheep turned round: ram",
    "1f405": "striped cat in side view: tiger is shown by its face",
    "1f415-200d-1f9ba": "a dog with a vest: service dog",
    "1f408-200d-2b1b": "another colour of the same cat: black cat",
    "1f940": "wilted: rose",
    "1f425": "front view of the chick",
    "1f34f": "another colour of the same apple: would be a pear or a pepper",
    "1f4f8": "the same camera with a flash",
    "1f50e": "the same glass turned round",
    "1f4ea": "the same mailbox with the flag down",
    "1f3e1": "the same house with a tree",
    "26c4": "the same snowman without snow",
    "23f3": "the same hourglass, running",
    "1f302": "closed: umbrella",
    "1f453": "one shade of difference: sunglasses stand for spectacles",
    "1fa71": "one stripe of difference: the bikini stands for swimsuits",
    "1f3a5": "as the film projector: film camera",
    "1f552": "plain disc: wall clock",
    "23f1": "round white dial like the others: stopwatch",
    "23f2": "round white dial like the others: timer",
    "1f95a": "plain disc: egg",
    "1f4c0": "the compact disk in yellow: DVD",
    "1f6e5": "mostly water: motorboat",
    "1f6a4": "mostly water: speedboat",
    "1f6e9": "a second, unlike airplane",
    "26b1": "the amphora without handles: urn",
    "1f687": "a tram in a dark disc: subway",
    "1f68a": "front view of trains and trams is the same",
    "1f686": "front view of trains and trams is the same",
    "1f68d": "front view of buses and trams is the same",
    "1f698": "front view of cars is the same",
    "1f694": "front view of cars is the same",
    "1f696": "front view of cars is the same",
    "1f699": "another colour of the same car: sport utility",
    "1f4d3": "the book with a pattern: notebook",
    "1f4d4": "the book with a label: notebook",
    "1f516": "the book with a mark: bookmark",
    "1f4d9": "another colour of the same book",
    "1f4d7": "another colour of the same book",
    "1f4d5": "another colour of the same book",
}


class Pair(NamedTuple):
    boxed: str
    label_only: str
    distance: int
    difference: float
    meeting: int  # the node where the two paths meet, -1 above the roots
    meeting_depth: int


def main(source: Path, out: Path) -> None:
    with source.open(encoding="utf-8", newline="") as lines:
        certain = [row for row in csv.DictReader(lines) if is_certain(row)]
    drawings = [row for row in certain if drawing_key(row["codepoint"]) not in EXCLUDED]
    tree = build_tree(sorted({row["wnid"] for row in drawings}))
    roles: dict[str, str] = {}
    for pair in chosen_pairs(tree, thumbnails(drawings)):
        roles |= {pair.boxed: "boxed", pair.label_only: "label-only"}
    under = boxed_ancestors(roles)
    kept = {row["codepoint"] for row in drawings}
    with out.open("w", encoding="utf-8", newline="") as target:
        writer = csv.DictWriter(target, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in sorted(certain, key=lambda row: (row["wnid"], row["codepoint"])):
            role = roles.get(row["wnid"], "unused") if row["codepoint"] in kept else "unused"
            name = row["synset"].rsplit(".", 2)[0].replace("_", " ")
            writer.writerow(
                {
                    "emoji": row["emoji"],
                    "codepoint": drawing_key(row["codepoint"]),
                    "wnid": row["wnid"],
                    "name": name,
                    "view": row["view"],
                    "role": role,
                    "under": under.get(row["wnid"], "") if role != "unused" else "",
                }
            )
    print(f"{len(roles)} of {len({row['wnid'] for row in certain})} classes: {dict(Counter(roles.values()))}")


def is_certain(row: dict[str, str]) -> bool:
    return row["physical"] == "yes" and row["confidence"] == "high" and row["view"] in {"whole", "face"}


def thumbnails(drawings: list[dict[str, str]]) -> dict[str, list[np.ndarray]]:
    """Drawings of each class and their mirror images, shape (24, 24, 4): colour on grey, and coverage."""
    by_class: dict[str, list[np.ndarray]] = defaultdict(list)
    for row in drawings:
        with Image.open(twemoji_folder() / row["twemoji_pypi"]) as file:
            image = file.convert("RGBA")
        small = image.crop(image.getbbox()).resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX)
        pixels = np.asarray(small, dtype=np.float64) / 255
        alpha = pixels[..., 3:]
        drawing = np.concatenate([pixels[..., :3] * alpha + 0.5 * (1 - alpha), alpha], axis=-1)
        by_class[row["wnid"]] += [drawing, drawing[:, ::-1]]
    return dict(by_class)


def chosen_pairs(tree: WordTree, drawings_of: dict[str, list[np.ndarray]]) -> list[Pair]:
    coco = set(coco_classes().values())
    general = {wnid for wnid in drawings_of if len(tree.descendants(tree.node(wnid)))}
    usable = sorted(wnid for wnid in drawings_of if wnid not in general or wnid in coco)
    candidates = [related(tree, a, b, drawings_of, coco) for a, b in itertools.combinations(usable, 2)]
    candidates = [
        pair
        for pair in candidates
        if pair.label_only not in general and (pair.boxed not in general or pair.distance == 1)
    ]
    candidates.sort(key=lambda pair: (pair.distance, -pair.meeting_depth, -pair.difference, pair.boxed))
    taken: list[Pair] = []
    pairs_of: Counter[int] = Counter()
    for pair in candidates:
        used = [wnid for other in taken for wnid in other[:2]]
        alike = any(
            difference(drawings_of[wnid], drawings_of[other]) < ALIKE for wnid in pair[:2] for other in used
        )
        if pair.difference < ALIKE or alike or pairs_of[pair.meeting] == PAIRS_PER_PARENT:
            continue  # this also skips classes that are already used
        taken.append(pair)
        pairs_of[pair.meeting] += 1
        if len(taken) == PAIRS:
            return taken
    raise SystemExit(f"Expected {PAIRS} pairs, found {len(taken)}. Lower ALIKE or shorten EXCLUDED.")


def boxed_ancestors(roles: dict[str, str]) -> dict[str, str]:
    """Nearest boxed ancestor of each class that has one, in the tree of the chosen classes."""
    tree = build_tree(sorted(roles))
    above = {wnid: [tree.ids[node] for node in tree.ancestors(tree.node(wnid))] for wnid in roles}
    return {
        wnid: next(one for one in path if roles.get(one) == "boxed")
        for wnid, path in above.items()
        if any(roles.get(one) == "boxed" for one in path)
    }


def related(tree: WordTree, a: str, b: str, drawings_of: dict[str, list[np.ndarray]], coco: set[str]) -> Pair:
    first, second = tree.node(a), tree.node(b)
    common = tree.lowest_common_ancestor(first, second)
    meeting, meeting_depth = (-1, -1) if common is None else (common, int(tree.depth[common]))
    distance = int(tree.depth[first]) + int(tree.depth[second]) - 2 * meeting_depth

    def comes_first(wnid: str) -> tuple[bool, bool, int, str]:
        node = tree.node(wnid)
        return (node != meeting, wnid not in coco, int(tree.depth[node]), wnid)

    boxed, label_only = sorted((a, b), key=comes_first)
    return Pair(
        boxed, label_only, distance, difference(drawings_of[a], drawings_of[b]), meeting, meeting_depth
    )


def difference(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    return min(float(np.sqrt(np.mean((a - b) ** 2))) for a in one for b in other)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
