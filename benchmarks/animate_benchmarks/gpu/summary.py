"""Prints one JSON line from the last lines of a suite's logs.

python -m animate_benchmarks.gpu.summary FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    found = {path.stem: last_object(path) for path in sorted(Path(sys.argv[1]).glob("*.log"))}
    print(json.dumps({name: result for name, result in found.items() if result is not None}))


def last_object(log: Path) -> dict[str, object] | None:
    """Return the JSON object that a finished benchmark ends with; None for one that did not finish."""
    lines = log.read_text(errors="replace").splitlines()
    if not lines or not lines[-1].startswith("{"):
        return None
    result: dict[str, object] = json.loads(lines[-1])
    return result


if __name__ == "__main__":
    main()
