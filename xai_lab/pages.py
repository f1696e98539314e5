"""Reports as one file: tables and figures in HTML that needs nothing else, tables in Markdown.

Whatever a user named, a file, a label or a word, is escaped here and nowhere else.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from string import Template
from typing import Any

from xai_lab.models import Guess


def document(
    title: str, summary: str, sections: Sequence[tuple[str, str]], *, made: str = ""
) -> str:
    """Page of some sections.

    Parameters
    ----------
    title, summary, made : str
        Plain text; it is escaped.
    sections : sequence of (str, str)
        Heading, plain, and what stands below it, HTML from this module.

    Returns
    -------
    str
        HTML with style and pictures inside it, without any script.
    """
    template = (Path(__file__).parent / "evidence.html").read_text(encoding="utf-8")
    body = "\n".join(
        f'<section tabindex="0" aria-labelledby="part-{number}">\n'
        f'<h2 id="part-{number}">{html.escape(heading)}</h2>\n{content}\n</section>'
        for number, (heading, content) in enumerate(sections)
    )
    return Template(template).substitute(
        title=html.escape(title), summary=html.escape(summary), body=body, made=html.escape(made)
    )


def signed(page: str, *lines: str) -> str:
    """Page with some lines of plain text at its foot: what it is about, and how it was made."""
    body, end, rest = page.rpartition("</footer>")
    return body + "".join(f"<p>{html.escape(line)}</p>" for line in lines) + end + rest


def table(rows: Sequence[Mapping[str, Any]], caption: str = "") -> str:
    """Table in HTML: the first cell of each row is its heading."""
    if not rows:
        return "<p>Nothing to show.</p>"
    heads = "".join(f'<th scope="col">{html.escape(str(name))}</th>' for name in rows[0])
    body = "\n".join(
        "<tr>"
        + "".join(
            f'<th scope="row">{html.escape(str(cell))}</th>'
            if number == 0
            else f"<td{' class=long' * (len(str(cell)) > 40)}>{html.escape(str(cell))}</td>"
            for number, cell in enumerate(row.values())
        )
        + "</tr>"
        for row in rows
    )
    told = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return f"<table>{told}\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Table in Markdown."""
    if not rows:
        return ""

    def line(cells: Any) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return "\n".join(
        [line(rows[0]), line("---" for _ in rows[0]), *(line(r.values()) for r in rows)]
    )


def image(figure: Any, alt: str) -> str:
    """Figure inside the page, with its words for those who do not see it."""
    from xai_lab.plot import png

    data = base64.b64encode(png(figure)).decode()
    return f'<figure><img alt="{html.escape(alt)}" src="data:image/png;base64,{data}"></figure>'


def paragraph(text: str) -> str:
    """Plain text as a paragraph."""
    return f"<p>{html.escape(text)}</p>"


def quoted(text: str) -> str:
    """Plain text as a quotation."""
    return f"<blockquote>{html.escape(text)}</blockquote>"


def guess_rows(guesses: Sequence[Guess]) -> list[dict[str, str]]:
    """Guesses as rows of a table."""
    return [
        {
            "class": one.label,
            "probability": percent(one.probability, 1),
            "score": f"{one.score:.1f}",
        }
        for one in guesses
    ]


def percent(probability: float, digits: int = 0) -> str:
    """Probability for a reader: so many digits, and neither end unless it is reached."""
    least = 10.0 ** -(digits + 2)
    if 0 < probability <= least / 2:
        return f"<{least:.{digits}%}"
    if 1 - least / 2 <= probability < 1:
        return f">{1 - least:.{digits}%}"
    return f"{probability:.{digits}%}"


def listed(names: Sequence[str]) -> str:
    """Names as a reader would list them: "a, b and c"."""
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last


def number(value: float) -> str:
    """Correlation for a reader; a dash where there is none."""
    return f"{value:.2f}" if isfinite(value) else "–"


def finite(values: Any) -> Any:
    """Nested numbers for JSON, which has no NaN: None in its place."""
    if isinstance(values, Mapping):
        return {name: finite(value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [finite(value) for value in values]
    if isinstance(values, float) and not isfinite(values):
        return None
    return values
