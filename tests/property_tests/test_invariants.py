"""The table of invariants is what the suite judges: each file named there says so itself, and none is left out."""

from __future__ import annotations

import ast
import re
from pathlib import Path

SUITE = Path(__file__).parents[2]
PROPERTIES = SUITE / "property_tests"
NUMBERS = re.compile(r"[Ii]nvariants? ((?:\d+(?:, | and )?)+)")


def table() -> dict[int, tuple[list[str], list[str]]]:
    """Of each invariant its files of properties, and the files that judge it in a running engine."""
    found = {}
    for line in (PROPERTIES / "INVARIANTS.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0].isdigit():
            properties, running = (cell.split(", ") if cell else [] for cell in cells[2:4])
            found[int(cells[0])] = properties, running
    return found


def named_by(file: Path) -> set[int]:
    """The invariants that a module says it judges."""
    said = NUMBERS.search(ast.get_docstring(ast.parse(file.read_text())) or "")
    return {int(number) for number in re.findall(r"\d+", said[1])} if said else set()


def test_all_eighteen_are_judged_somewhere() -> None:
    assert sorted(table()) == list(range(1, 19))
    for properties, running in table().values():
        files = [PROPERTIES / f"{name}.py" for name in properties] + [SUITE / name for name in running]
        assert files
        assert [str(file) for file in files if not file.is_file()] == []


def test_the_table_says_what_the_properties_say() -> None:
    listed = {(name, number) for number, (names, _) in table().items() for name in names if "/" not in name}
    said = {(file.stem, number) for file in PROPERTIES.glob("test_*.py") for number in named_by(file)}
    assert listed == said
