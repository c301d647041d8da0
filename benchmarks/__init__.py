"""Measurements against a named baseline, both taken in the same run on the same machine.

Seconds differ from machine to machine; ratios hardly do. A benchmark is a module here with a
docstring that names its baseline and a function `run(*, quick: bool)` that returns ratios, ours
to the baseline's: a plain dict of them, or a dict whose member `ratios` they are, beside
whatever else is worth keeping. `./run bench NAME` prints that as JSON in the last line.
Benchmarks are not tests: nothing fails because a machine is slow.
"""
