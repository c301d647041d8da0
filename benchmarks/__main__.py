"""`./run bench NAME [--quick]`."""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any


def main() -> None:
    here = Path(__file__).parent
    names = [m.name for m in pkgutil.iter_modules([str(here)]) if not m.name.startswith("_")]
    parser = argparse.ArgumentParser(prog="./run bench")
    parser.add_argument("name", choices=names)
    parser.add_argument("--quick", action="store_true", help="one small round: does it work?")
    options = parser.parse_args()
    benchmark = importlib.import_module(f"benchmarks.{options.name}")
    result = benchmark.run(quick=options.quick)
    if "ratios" not in result:
        result = {"ratios": result}
    print(json.dumps({"name": options.name, **rounded(result)}), flush=True)


def rounded(value: Any) -> Any:
    """Return a result with all its numbers short enough to read."""
    if isinstance(value, dict):
        return {name: rounded(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(member) for member in value]
    return round(value, 3) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
