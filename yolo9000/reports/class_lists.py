"""What a page says of single classes: where misses come from, the best and the worst with images, all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

from data_prep.dataset.label_counts import Supervision
from yolo9000.evaluation.breakdown import BreakdownRow
from yolo9000.evaluation.outcomes import Confusion
from yolo9000.evaluation.scorecard import PART_NAMES, ClassScore, PartScore, Scorecard, percentage
from yolo9000.evaluation.supervision import PART_OF, PARTS
from yolo9000.reports.charts import bar
from yolo9000.reports.page import Scene, figure, row, table

LISTED = 6  # classes in each list of best and worst
CONFUSIONS = 10  # in each list
KINDS: dict[Supervision, str] = {"boxes": "with boxes", "image labels": "with image labels only"}
COLOUR_CLASS: dict[Supervision, str] = {
    "boxes": "boxes",
    "image labels": "image-labels",
    "none": "neither",
}


def misses(card: Scorecard) -> str:
    """Each part's objects as named, misnamed and not found, and what the misnamed ones are called."""
    if not card.all.boxes:
        return ""
    shares = "".join(_shares(PART_NAMES[part], card.part(part)) for part in PARTS if card.part(part).classes)
    lists = "".join(_confused(card, supervision) for supervision in COLOUR_CLASS)
    return (
        '<h2>Where misses come from</h2>\n<p class="soft">Every labelled object of the test images. It is '
        "<b>found</b> where some answer, of any class and score, overlaps it by at least half, and called what the "
        "best scored of these says. AP50 looks at the answers of one class alone, so a misnamed object may still count "
        f'for it.</p>\n<div class="card shares">{shares}</div>'
        + _breakdown_rows(card)
        + (f'<div class="pair">{lists}</div>' if lists else "")
    )


def best_and_worst(
    classes: Sequence[ClassScore], supervision: Supervision
) -> tuple[list[ClassScore], list[ClassScore]]:
    """The classes of highest AP50 and those of lowest, of each as many; none is both."""
    ranked = sorted((row for row in classes if row.supervision == supervision), key=lambda row: -row.ap50)
    count = min(LISTED, len(ranked) // 2)
    return ranked[:count], ranked[len(ranked) - count :][::-1]


def extremes(classes: Sequence[ClassScore], pictures: Mapping[str, Sequence[Scene]]) -> str:
    """The best and the worst classes of both kinds, with what became of some objects of each."""
    lists = []
    for supervision, kind in KINDS.items():
        best, worst = best_and_worst(classes, supervision)
        if best:
            lists.append(_class_list(f"Best {kind}", best, pictures))
            lists.append(_class_list(f"Worst {kind}", worst, pictures))
    if not lists:
        return ""
    message = (
        '<p class="soft">By AP50. Dashed: the object as it is labelled; coloured: the answer that speaks for it, '
        "with its name and score.</p>\n"
        if pictures
        else ""
    )
    return f'<h2>Best and worst classes</h2>\n{message}<div class="pair">{"".join(lists)}</div>'


def all_classes(classes: Sequence[ClassScore], training_labels: Mapping[str, tuple[int, int]]) -> str:
    """One row a class, best AP50 first."""
    columns: list[tuple[str, Callable[[ClassScore], str]]] = [
        ("class", lambda row: f"<td>{escape(row.name)}</td>"),
        ("id", lambda row: f'<td class="text soft">{escape(row.id)}</td>'),
        ("evidence", lambda row: _coloured_cell(row, f'<span class="badge">{row.supervision}</span>')),
        ("AP50", lambda row: _coloured_cell(row, bar(row.ap50))),
        ("AP", lambda row: f"<td>{percentage(row.ap)}</td>"),
        ("recall", lambda row: f"<td>{percentage(row.recall50)}</td>"),
        ("named", lambda row: f"<td>{percentage(row.accuracy)}</td>"),
        ("test boxes", lambda row: f"<td>{row.boxes:,}</td>"),
    ]
    if training_labels:
        columns += [
            ("training boxes", lambda row: f"<td>{training_labels.get(row.id, (0, 0))[0]:,}</td>"),
            ("image labels", lambda row: f"<td>{training_labels.get(row.id, (0, 0))[1]:,}</td>"),
        ]
    ranked = sorted(classes, key=lambda row: (-row.ap50, row.name))
    if not ranked:
        return ""
    left_aligned = ("id", "evidence", "AP50")
    heads = "".join(f"<th{' class=text' if name in left_aligned else ''}>{name}</th>" for name, _ in columns)
    rows = table(heads, (row(cell(one) for _, cell in columns) for one in ranked))
    return f"<details><summary>All {len(ranked)} classes</summary>\n{rows}</details>"


def _shares(name: str, part: PartScore) -> str:
    counts = {
        "named": part.correct,
        "misnamed": part.detected - part.correct,
        "not-found": part.boxes - part.detected,
    }
    pieces = "".join(
        f'<i class="{kind}" style="flex:{count}"></i>' for kind, count in counts.items() if count
    )
    message = "".join(
        f'<li class="{kind}">{kind.replace("-", " ")} <b>{count:,}</b> ({100 * count / part.boxes:.0f} %)</li>'
        for kind, count in counts.items()
    )
    return (
        f"<h3>{name}: {part.boxes:,} objects</h3>"
        f'<div class="stack" aria-hidden="true">{pieces}</div><ul class="legend">{message}</ul>'
    )


def _breakdown_rows(card: Scorecard) -> str:
    """The same shares by size, place and company: a line each, the parts of the classes side by side."""
    message = {(one.condition, one.part): one for one in card.breakdown}
    parts = [part for part in PARTS if any(part == one for _, one in message)]
    if not parts:
        return ""
    heads = "<th></th>" + "".join(
        f"<th>{PART_NAMES[part]}: objects</th><th>named</th><th>misnamed</th><th>not found</th>"
        for part in parts
    )
    names = dict.fromkeys(name for name, _ in message)
    rows = (
        row((f'<td class="text">{name}</td>', *(_cells(message.get((name, part))) for part in parts)))
        for name in names
    )
    return (
        '<h3>By size, place and company</h3>\n<p class="soft">Percentages of the objects. Where classes without boxes '
        "do worse in one line alone, their images lack in training what scenes have: things of that size, things "
        f"that are cut or covered.</p>\n{table(heads, rows)}"
    )


def _cells(one: BreakdownRow | None) -> str:
    if one is None:
        return "<td>–</td>" * 4
    counts = (one.correct, one.detected - one.correct, one.objects - one.detected)
    return f"<td>{one.objects:,}</td>" + "".join(f"<td>{100 * n / one.objects:.0f}</td>" for n in counts)


def _confused(card: Scorecard, supervision: Supervision) -> str:
    """The most frequent wrong names of the classes with this evidence."""
    known = {row.id: row.supervision for row in card.classes}
    rows = [pair for pair in card.confusions if known.get(pair.id) == supervision]
    if not rows:
        return ""
    total = sum(pair.count for pair in rows)
    to_boxed = sum(pair.count for pair in rows if known.get(pair.predicted_id) == "boxes")
    heads = (
        '<th>is</th><th class="text">called</th><th>times</th><th class="text">both are</th><th>steps</th>'
    )
    return (
        f"<div><h3>Misnamed, {PART_NAMES[PART_OF[supervision]]}</h3>"
        f'<p class="soft">{to_boxed:,} of the {total:,} are called by the name of a class with boxes. Steps: along '
        "the tree from one class to the other.</p>"
        f"{table(heads, map(_confusion, rows[:CONFUSIONS]))}</div>"
    )


def _confusion(pair: Confusion) -> str:
    common, distance = pair.common_ancestor or "–", "–" if pair.distance is None else str(pair.distance)
    texts = (
        f"<td>{escape(pair.name)}</td>", f'<td class="text">{escape(pair.predicted)}</td>', f"<td>{pair.count:,}</td>",
        f'<td class="text soft">{escape(common)}</td>', f"<td>{distance}</td>",
    )  # fmt: skip
    return row(texts)


def _class_list(title: str, rows: Sequence[ClassScore], pictures: Mapping[str, Sequence[Scene]]) -> str:
    return f'<div class="card"><h3>{escape(title)}</h3>{"".join(_class(row, pictures) for row in rows)}</div>'


def _class(one: ClassScore, pictures: Mapping[str, Sequence[Scene]]) -> str:
    strip = "".join(figure(scene) for scene in pictures.get(one.id, ()))
    return (
        f'<div class="class {COLOUR_CLASS[one.supervision]}"><div class="line"><b>{escape(one.name)}</b>{bar(one.ap50)}'
        f'</div><p class="soft">{_fate(one)}</p>'
        + (f'<div class="strip">{strip}</div>' if strip else "")
        + "</div>"
    )


def _fate(one: ClassScore) -> str:
    """What became of the objects of a class, in words."""
    counts = {
        "named": one.correct,
        "misnamed": one.detected - one.correct,
        "not found": one.boxes - one.detected,
    }
    message = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count)
    return f"{one.boxes:,} {'object' if one.boxes == 1 else 'objects'}: {message}"


def _coloured_cell(one: ClassScore, inside: str) -> str:
    return f'<td class="text {COLOUR_CLASS[one.supervision]}">{inside}</td>'
