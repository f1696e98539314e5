"""Every chapter keeps to the form that readers come to rely on, as far as a computer can tell."""

import ast
import re
from pathlib import Path

import jupytext
import pytest

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "chapters").glob("*.md"))
PAGES = CHAPTERS + sorted((ROOT / "book").glob("*.md")) + sorted((ROOT / "solutions").glob("*.md"))
# Headings that stand in every chapter, in this order; others may come between.
SECTIONS = [
    "The formula",
    "By hand",
    "On a real network",
    "What moves it",
    "What it cannot show",
    "Which method when",
    "Check yourself",
    "Exercises",
    "Further reading",
]
OPENING = ["You will be able to", "You need", "Time", "Difficulty"]
WORDS = r"\b(simply|obviously|powerful|delv(?:e|es|ing)|it is worth noting|worth noting)\b"


def cells(path, kind):
    return [cell for cell in jupytext.read(path).cells if cell.cell_type == kind]


def prose(path):
    """Return a page's text without code, formulas and front matter."""
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"\A---\n.*?^---\n", "", text, flags=re.DOTALL | re.MULTILINE)
    fence = r"^(`{3,})[^\n]*\n.*?^\1[ \t]*$"
    text = re.sub(fence, strip_code, text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\$\$.*?\$\$|\$[^$\n]+\$|`[^`\n]*`", " ", text, flags=re.DOTALL)
    return re.sub(r"!\[|!=|<!--.*?-->|<!DOCTYPE", " ", text, flags=re.DOTALL)


def strip_code(match):
    """Drop a fence with code, keep one with prose."""
    name = re.match(r"`{3,}\{?([\w-]*)", match[0])[1]
    return match[0] if name in ("admonition", "note", "list-table", "figure") else ""


# Shown as HTML, which brings its own words for those who do not see it.
PAGES_OF_THEIR_OWN = {"plot.slider", "plot.sentences", "plot.head_view", "plot.model_view"}


def drawing(source):
    """Call of xai_lab.plot, or of a result's own figure, that a cell ends in, if it does."""
    last = (ast.parse(source).body or [None])[-1]
    call = last.value if isinstance(last, ast.Expr | ast.Assign) else None
    name = ast.unparse(call.func) if isinstance(call, ast.Call) else ""
    return call if name.startswith("plot.") or name.endswith(".figure") else None


def complaints(path):
    """Say where a chapter departs from the form."""
    found = []
    text = path.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    left = iter(headings)
    found += [f"section missing or out of order: {s}" for s in SECTIONS if s not in left]
    opening = text.split("\n## ")[0]
    found += [f"the opening does not say: {part}" for part in OPENING if part not in opening]
    if "plot." not in opening or "$$" in opening:
        found.append("it must open with a picture, before any formula")
    if not re.search(r"^\$\$ \(eq-[\w-]+\)$", text, re.MULTILINE):
        found.append("no numbered formula")
    if "{term}`" not in text:
        found.append("no term is linked to the glossary")
    folded = re.findall(r"^:class: .*dropdown", text, re.MULTILINE)
    if not 3 <= len(folded) <= 5:
        found.append(f"{len(folded)} folded answers, expected 3 to 5")
    code = cells(path, "code")
    if not any(re.search(r"^\s*assert ", cell.source, re.MULTILINE) for cell in code):
        found.append("nothing made by hand is compared with the package")
    jet = [cell for cell in code if re.search(r"['\"]jet(_r)?['\"]", cell.source)]
    if len(jet) > 1:
        found.append("jet stands in more than the one cell that shows what is wrong with it")
    for index, cell in enumerate(code, start=1):
        where, shown = f"code cell {index}", cell.metadata.get("mystnb", {})
        if len(cell.source.splitlines()) > 15:
            found.append(f"{where}: {len(cell.source.splitlines())} lines, at most 15")
        if re.fullmatch(r"(print\()?[\w.]+\.shape\)?", cell.source.strip()):
            found.append(f"{where}: only prints a shape")
        if re.search(r"\bplt\.|import matplotlib", cell.source):
            found.append(f"{where}: drawing belongs in xai_lab.plot")
        call = drawing(cell.source)
        if call and ast.unparse(call.func) in PAGES_OF_THEIR_OWN:
            if not any(given.arg == "caption" for given in call.keywords):
                found.append(f"{where}: the figure has no caption")
        elif call:
            if len(shown.get("image", {}).get("alt", "").split()) < 6:
                found.append(f"{where}: the alt text does not say what is seen")
            if not shown.get("figure", {}).get("caption", "").strip():
                found.append(f"{where}: the figure has no caption")
    return found


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_keeps_to_the_form(path):
    assert complaints(path) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_prose_keeps_to_the_house_style(path):
    text = prose(path)
    assert re.findall(WORDS, text, re.IGNORECASE) == []
    assert re.findall(r".{0,30}!(?=\s|$)", text) == [], "exclamation marks"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("## By hand", "## Worked out", "section missing or out of order: By hand"),
        ("**You need**", "**Wanted**", "the opening does not say: You need"),
        ("    alt: >-", "    alternative: >-", "alt text does not say"),
        ("  figure:\n", "  picture:\n", "has no caption"),
        ("\n    caption=", "\n    start=0, text=", "has no caption"),
        ("torch.manual_seed(0)", "torch.manual_seed(0)\n" * 16, "at most 15"),
        ("torch.manual_seed(0)", "ramp = 'jet'", "more than the one cell"),
        ("torch.manual_seed(0)", "import matplotlib", "belongs in xai_lab.plot"),
    ],
)
def test_a_departure_is_seen(tmp_path, old, new, complaint):
    text = CHAPTERS[0].read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "01_changed.md"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    assert any(complaint in one for one in complaints(path))


@pytest.mark.parametrize("word", ["Simply do it.", "Look at this!", "It is worth noting that"])
def test_a_banned_word_is_seen(tmp_path, word):
    path = tmp_path / "page.md"
    path.write_text(f"# Page\n\n```bash\necho simply!\n```\n\n{word}\n", encoding="utf-8")
    with pytest.raises(AssertionError):
        test_prose_keeps_to_the_house_style(path)
