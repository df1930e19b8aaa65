"""Write the package's WordNet data from an installed WordNet 3.0 (Debian: apt-get install wordnet-base).

    python scripts/make_wordnet.py [FOLDER]          # default /usr/share/wordnet; about 15 seconds

Writes wordtree/assets/wordnet-3.0-nouns.npz (docs/wordnet_data.md), and WordNet's notice from the head of the database
to wordtree/assets/ and LICENSES/.
"""

import io
import re
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from wordtree.support.files import write_atomically  # noqa: E402 - the script runs from a bare checkout
from wordtree.tree.tree_files import NOTICE_FILE  # noqa: E402
from wordtree.wordnet.graph import SHIPPED  # noqa: E402
from wordtree.wordnet.installed import read_nouns  # noqa: E402


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "/usr/share/wordnet")
    columns, _ = read_nouns(folder)
    archive = io.BytesIO()
    np.savez_compressed(archive, **vars(columns))
    write_atomically(SHIPPED, archive.getvalue())
    for path in (SHIPPED.with_name(NOTICE_FILE), ROOT / "LICENSES" / NOTICE_FILE):
        write_atomically(path, notice(folder / "data.noun"))
    print(f"{SHIPPED}: {len(columns.offset)} synsets, {SHIPPED.stat().st_size} bytes")


def notice(database: Path) -> str:
    """The numbered lines at the head of a database file, without the numbers."""
    lines = []
    with database.open(encoding="utf-8") as file:
        for line in file:
            match = re.fullmatch(r" +[0-9]+(?: (.*?))? *\n", line)
            if match is None:
                break
            lines.append((match[1] or "").rstrip())
    return "\n".join(["WordNet Release 3.0", "", *lines, ""])


if __name__ == "__main__":
    main()
