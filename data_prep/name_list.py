"""Lists of names in text files, one on a line."""

from pathlib import Path

from data_prep.config import ConfigError


def read_names(path: Path) -> list[str]:
    """The lines without what follows a `#`, blanks around them and empty ones; raises ConfigError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"{path}: this list of names cannot be read as text.") from None
    stripped = (line.partition("#")[0].strip() for line in lines)
    return [line for line in stripped if line]
