"""`{model-cards}`: the cards of the models trained here, as they lie beside their weights."""

from __future__ import annotations

import json
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective


def read_cards(source: Path) -> list[dict]:
    """Cards by name."""
    folder = source / "xai_lab" / "models" / "weights"
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]


def number(value: float) -> str:
    """Metric as people write it: a count whole, a small share with more digits."""
    return f"{value:.0f}" if value == int(value) and value > 1 else f"{value:.3g}"


def summary(cards: list[dict]) -> list[str]:
    """One row a model."""
    lines = ["| model | parameters | file | training |", "|---|---:|---:|---:|"]
    for card in cards:
        lines.append(
            f"| `{card['name']}` | {card['parameters']:,} | {card['bytes'] / 1e6:.1f} MB "
            f"| {minutes(card):.0f} min |"
        )
    size, time = sum(card["bytes"] for card in cards), sum(map(minutes, cards))
    lines.append(f"| together | | {size / 1e6:.1f} MB | {time:.0f} min |")
    return lines


def minutes(card: dict) -> float:
    """Training time, that of the processor where it was measured."""
    return card.get("cpu_minutes", card["minutes"])


def sentence(text: str) -> str:
    """Words of a card with a capital and a full stop."""
    return f"{text[0].upper()}{text[1:].rstrip('.')}."


def details(card: dict) -> list[str]:
    """Everything else on a card, folded away."""
    versions = ", ".join(f"{name} {version}" for name, version in card["versions"].items())
    lines = [f":::{{admonition}} {card['name']}", ":class: dropdown", ""]
    lines += [
        f"{sentence(card['architecture'])} Data: {card['data'].rstrip('.')}.",
        "",
        "| metric | value | goal |",
        "|---|---:|---|",
    ]
    for key, value in card["metrics"].items():
        low, high = card["goals"].get(key, ("", ""))
        goal = f"{low} to {high}" if key in card["goals"] else ""
        lines.append(f"| {key} | {number(value)} | {goal} |")
    return [
        *lines,
        "",
        f"Trained with seed {card['seed']} on {card['machine']}; {versions}. Trained again on the "
        f"same machine, a metric moves by at most {card['tolerance']}. "
        f"sha256 `{card['sha256'][:16]}…`",
        ":::",
        "",
    ]


class ModelCards(SphinxDirective):
    """A table of all models, then one folded card each."""

    def run(self) -> list[nodes.Node]:
        """Build the cards as Markdown and have it parsed."""
        source = Path(self.env.srcdir)
        cards = read_cards(source)
        for card in cards:
            self.env.note_dependency(f"xai_lab/models/weights/{card['name']}.json")
        lines = [*summary(cards), ""]
        for card in cards:
            lines += details(card)
        node = nodes.container()
        self.state.nested_parse(StringList(lines, "model cards"), self.content_offset, node)
        return node.children


def setup(app):
    """Join the build."""
    app.add_directive("model-cards", ModelCards)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
