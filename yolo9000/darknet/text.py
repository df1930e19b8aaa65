"""Writing `.cfg` text: whole sections, and single options of an existing text."""

from __future__ import annotations

from yolo9000.darknet.options import parse_sections


def section(name: str, **options: str | float) -> str:
    """The text of a `.cfg` section."""
    return f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in options.items())


def with_option(text: str, layer: int, key: str, value: str | int | None) -> str:
    """The text of a cfg with `key=value` set in the section of a layer; None comments the option out."""
    found = parse_sections(text, "the cfg")[0][layer + 1]
    option, lines = found.options.get(key), text.split("\n")
    end = "\r" if lines[found.line - 1].endswith("\r") else ""
    if value is None:
        if option is None:
            return text
        lines[option.line - 1] = f"#{lines[option.line - 1]}"
        # Without this line, Darknet would read a later line with the key.
        return with_option("\n".join(lines), layer, key, None)
    if option is None:
        lines.insert(found.line, f"{key}={value}{end}")
    else:
        lines[option.line - 1] = f"{key}={value}{end}"
    return "\n".join(lines)
