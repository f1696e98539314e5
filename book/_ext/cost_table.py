"""`{cost-table}` and the role `{cost}`: what methods cost, as `benchmarks/costs.py` measured it.

No number of passes or seconds is typed on a page. ```{cost-table} photo``` is the table of a group,
{cost}`saliency` the cost of one method in a line of text.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective, SphinxRole

FILE = "benchmarks/costs.json"
SHORT = 0.5  # a backward pass through less than this share of the layers is called short


def read_costs(source: Path) -> dict:
    """Measurements by group."""
    return json.loads((source / FILE).read_text(encoding="utf-8"))


def find(costs: dict, key: str) -> dict:
    """Row of a method, whichever group it is in."""
    rows = [group["rows"][key] for group in costs.values() if key in group["rows"]]
    if not rows:
        raise KeyError(key)
    return rows[0]


def factor(value: float) -> str:
    """Multiple of a forward pass: two digits, more where it is large."""
    return f"{value:,.0f}×" if value >= 10 else f"{value:.1f}×"


def short(row: dict) -> str:
    """Cost in a few words: forward + backward passes, time."""
    if row["samples"] > 1:
        forward, backward = (row[way] / row["samples"] for way in ("forward", "backward"))
        return f"{forward:.0f} + {backward:.0f} a picture"
    return f"{passes(row)}{' short' * (0 < row['share'] < SHORT)}; {factor(row['times'])}"


def passes(row: dict) -> str:
    """Forward + backward passes."""
    return f"{row['forward']:,}" + f" + {row['backward']:,}" * (row["backward"] > 0)


def layers(row: dict) -> str:
    """Share of the layers that a backward pass goes through."""
    return f"{max(row['share'], 0.01):.0%}" if row["backward"] else ""


def table(group: dict) -> list[str]:
    """One row a method."""
    lines = ["| | passes | time | through | memory |", "|---|---:|---:|---:|---:|"]
    for row in group["rows"].values():
        most = row["megabytes"]
        memory = "" if most is None else f"{most:,.0f} MB" if most >= 10 else f"{most:.1f} MB"
        lines.append(
            f"| {row['title']} | {passes(row)} | {factor(row['times'])} | {layers(row)} "
            f"| {memory} |"
        )
    return lines


class CostTable(SphinxDirective):
    """Table of the groups that are named; with `:machine:` it also says where it was measured."""

    required_arguments = 1
    optional_arguments = 9
    option_spec: ClassVar = {"machine": directives.flag}

    def run(self) -> list[nodes.Node]:
        """Build the table as Markdown and have it parsed."""
        source = Path(self.env.srcdir)
        self.env.note_dependency(FILE)
        costs = read_costs(source)
        first, *more = (costs[name] for name in self.arguments)
        rows = dict(first["rows"])
        for group in more:  # the unit stands there once
            rows |= {key: row for key, row in group["rows"].items() if key != "forward"}
        unit = first["rows"]["forward"]["seconds"] * 1000
        where = f" {first['machine']}." if "machine" in self.options else ""
        lines = [*table({"rows": rows}), "", f"One forward pass took {unit:.2g} ms.{where}"]
        node = nodes.container()
        self.state.nested_parse(StringList(lines, FILE), self.content_offset, node)
        return node.children


class Cost(SphinxRole):
    """Cost of one method, by its key in the file."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Text, or a message if there is no such method."""
        self.env.note_dependency(FILE)
        try:
            row = find(read_costs(Path(self.env.srcdir)), self.text)
        except KeyError:
            known = f"{FILE} has no method {self.text!r}"
            message = self.inliner.reporter.warning(known, line=self.lineno)
            return [], [message]
        return [nodes.Text(short(row))], []


def setup(app):
    """Join the build."""
    app.add_directive("cost-table", CostTable)
    app.add_role("cost", Cost())
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
