"""`./run bench NAME [--quick]`."""

from __future__ import annotations

import argparse
import importlib
import json
import pkgutil
from pathlib import Path


def main() -> None:
    here = Path(__file__).parent
    names = [m.name for m in pkgutil.iter_modules([str(here)]) if not m.name.startswith("_")]
    parser = argparse.ArgumentParser(prog="./run bench")
    parser.add_argument("name", choices=names)
    parser.add_argument("--quick", action="store_true", help="one small round: does it work?")
    options = parser.parse_args()
    benchmark = importlib.import_module(f"benchmarks.{options.name}")
    ratios = benchmark.run(quick=options.quick)
    rounded = {name: round(ratio, 3) for name, ratio in ratios.items()}
    print(json.dumps({"name": options.name, "ratios": rounded}), flush=True)


if __name__ == "__main__":
    main()
