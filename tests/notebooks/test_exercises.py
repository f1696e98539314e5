"""Exercises are what their solutions generate, give nothing away, and run up to each TODO."""

import importlib.util
import json
import re
from functools import cache
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "solutions").glob("*.md"))

spec = importlib.util.spec_from_file_location("build", ROOT / "solutions" / "build.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)

stems = pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)

HEADER = """---
kernelspec:
  display_name: Python 3 (ipykernel)
  language: python
  name: python3
---

"""
CELL = """```{code-cell} ipython3
def f():
    ### BEGIN SOLUTION
    return "a secret answer"
    ### END SOLUTION
```
"""


def exercise_of(source):
    return ROOT / "exercises" / f"{source.stem}.ipynb"


def text_of(notebook):
    return "\n".join(cell.source for cell in notebook.cells)


def written(tmp_path, body):
    path = tmp_path / "09_test.md"
    path.write_text(HEADER + body, encoding="utf-8")
    return path


def test_there_is_an_exercise_for_every_solution_and_no_other():
    assert [p.stem for p in SOURCES] == sorted(p.stem for p in (ROOT / "exercises").glob("*.ipynb"))


@stems
def test_exercises_regenerate_to_the_byte(source):
    again = build.as_bytes(build.exercise(source))
    assert again == build.as_bytes(build.exercise(source))
    assert again == exercise_of(source).read_bytes(), "run: make exercises"


@stems
def test_nothing_of_the_solution_is_left(source):
    raw = exercise_of(source).read_text(encoding="utf-8")
    notebook = nbformat.reads(raw, as_version=4)
    assert "SOLUTION" not in raw
    assert "jupytext" not in raw
    assert all(not cell.get("outputs") for cell in notebook.cells)
    assert all(cell.get("execution_count") is None for cell in notebook.cells)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    decoded = "\n".join([text_of(notebook), json.dumps([c.metadata for c in notebook.cells])])
    secrets = [line for _, line in build.solution_lines(source.read_text(encoding="utf-8"))]
    assert len(secrets) >= 10
    for line in secrets:
        assert len(line) < 16 or line not in decoded


@stems
def test_exercises_are_valid_notebooks_with_fixed_ids(source):
    notebook = nbformat.read(exercise_of(source), as_version=4)
    nbformat.validate(notebook)
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert ids == [cell.id for cell in build.exercise(source).cells]


@stems
def test_every_task_has_what_a_task_needs(source):
    notebook = build.exercise(source, url="")
    tasks = re.split(r"(?m)^(?=## Task )", text_of(notebook))[1:]
    assert len(tasks) >= 6
    for task in tasks:
        assert re.search(r"\*(Easy|Medium|Optional and hard|Open), \d+ minutes\.\*", task)
        assert build.TEXT_STUB in task
    for task in tasks[:-1]:
        assert "$$" in task
        assert "check(" in task
        assert "# TODO" in task
        assert '"""' in task
    assert "| missing | fair | good |" in tasks[-1]


@stems
def test_every_function_that_is_cleared_is_checked(source):
    from xai_lab.checks import exercises

    cells = [cell.source for cell in build.exercise(source, url="").cells]
    functions = [re.search(r"^def (\w+)", s, re.M)[1] for s in cells if "# TODO" in s]
    checks = [m[1] for s in cells if (m := re.fullmatch(r"check\((\w+)\)", s))]
    assert checks == functions
    assert set(checks) <= set(exercises())


@stems
def test_the_stub_runs_from_top_to_bottom_up_to_its_todos(source, tmp_path):
    notebook = nbformat.read(exercise_of(source), as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    shown = [
        "".join(output.data["text/plain"])
        for cell in notebook.cells
        if re.match(r"check\(\w+\)$", cell.source)
        for output in cell.outputs
    ]
    assert len(shown) >= 5
    assert all("not attempted yet" in text for text in shown)


class Tiny:
    """Stands for any network: a moment's work, and what the notebooks ask of one."""

    labels = ("Egyptian cat", "espresso", "tiger cat", "cup", "daisy", "lynx")
    mean = std = (0.5, 0.5, 0.5)
    normalisation = (mean, std)

    def __init__(self):
        import torch

        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.model = TinyModel().eval()

    def preprocess(self, photo):
        import torch

        return torch.linspace(-1, 1, 3 * 8 * 8).reshape(1, 3, 8, 8)

    def pixels(self, x):
        return x

    def predict(self, x, top=5):
        from xai_lab.models import Guess

        return [[Guess(0, self.labels[0], 0.5, 1.0)] * top for _ in x]


@cache
def tiny_text():
    """Stand for any network that reads text: the real tokenizer, and hardly anything behind it."""
    import torch
    from transformers import BertForSequenceClassification

    from xai_lab.models import LoadedText
    from xai_lab.models.text import SENTIMENTS, minilm_config, minilm_tokenizer

    size = {"hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForSequenceClassification._from_config(
            minilm_config(num_attention_heads=1, **size), attn_implementation="eager"
        )
    return LoadedText("tiny", model.eval(), minilm_tokenizer(), list(SENTIMENTS))


def TinyModel():  # noqa: N802 (torch is imported when it is needed)
    """Network with the layers of EfficientNet and of `scenes-cnn` by their names."""
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn1 = nn.Conv2d(3, 6, 3, padding=1)
            self.blocks = nn.Sequential(*(nn.Conv2d(6, 6, 1) for _ in range(6)))
            self.bn2, self.features = nn.Tanh(), nn.Softplus()
            self.classifier = nn.Linear(6, 6)

        def forward(self, x):
            step = max(1, x.shape[-1] // 8)  # a large picture costs no more than a small one
            x = x[..., ::step, ::step]
            return self.classifier(self.features(self.bn2(self.blocks(self.bn1(x)))).mean((2, 3)))

    return Model()


def stand_in(name):
    """Stand-in for a network; those with attention that are small already stay as they are."""
    if name in ("scenes-vit", "tiny-lm"):
        from xai_lab.models import load

        return load(name)
    return tiny_text() if "lm" in name else Tiny()


PLOTS = (
    "maps", "predictions", "curves", "pictures", "sentences",
    "gallery", "head", "heads", "by_layer", "cls_maps",
)  # fmt: skip


@cache
def drawn_once():
    """`scenes` that draws the same pictures once for all runs."""
    from xai_lab.data.scenes import scenes

    return cache(scenes)


def run_with_todos(source, todo, monkeypatch):
    """Run a solution's cells, the functions named in ``todo`` left unwritten."""
    import xai_lab
    from xai_lab.checks import exercises

    monkeypatch.setattr(xai_lab, "load", stand_in)
    monkeypatch.setattr(xai_lab, "photo", lambda name: name)
    monkeypatch.setattr("xai_lab.data.scenes.scenes", drawn_once())
    for name in PLOTS:
        monkeypatch.setattr(xai_lab.plot, name, lambda *a, **k: None)
    monkeypatch.setattr("xai_lab.checks.check", lambda function: None)  # tested elsewhere
    scope = {"display": lambda figure: None, "__name__": "__main__"}
    solved = build.read(source)
    for cell, cleared in zip(solved.cells, build.clear(solved).cells, strict=True):
        named = re.search(r"^def (\w+)", cell.source, re.MULTILINE)
        if cell.cell_type == "code":
            if named and named[1] in todo:
                cell = cleared
            exec(compile(cell.source, f"{source.stem}: {cell.source[:60]}", "exec"), scope)
            if named and named[1] in exercises() and named[1] not in todo:
                # A student's function may do without the ones that are not written.
                scope[named[1]] = exercises()[named[1]].reference


def functions_of(source):
    cells = [cell.source for cell in build.read(source).cells if cell.cell_type == "code"]
    return [re.search(r"^def (\w+)", s, re.M)[1] for s in cells if build.BEGIN in s]


@stems
def test_the_notebook_runs_whichever_function_is_not_written(source, monkeypatch, capsys):
    functions = functions_of(source)
    assert len(functions) >= 5
    for name in functions:
        run_with_todos(source, [name], monkeypatch)
        if name not in ("claims", "draws_needed"):  # which no picture waits for
            assert "Waiting for" in capsys.readouterr().out, name
    for name in functions:
        run_with_todos(source, [other for other in functions if other != name], monkeypatch)
    capsys.readouterr()
    run_with_todos(source, [], monkeypatch)
    assert "Waiting for" not in capsys.readouterr().out


# For each chapter a guard, one that asks for too little, the function it forgets, what then fails.
GUARDS = {
    "01_saliency": (
        "if attempted(saliency, smooth_grad, standard_error):",
        "if attempted(smooth_grad, standard_error):",
        "saliency",
        (NameError, "'g'"),
    ),
    "02_cam": (
        "if attempted(class_map, grad_cam_from):",
        "if attempted(class_map):",
        "grad_cam_from",
        (NotImplementedError, None),
    ),
    "03_integrated_gradients": (
        "if attempted(integrated_gradients, blind_case):",
        "if attempted(blind_case):",
        "integrated_gradients",
        (NotImplementedError, None),
    ),
    "04_attention": (
        "if attempted(induction, previous_token):",
        "if attempted(induction):",
        "previous_token",
        (NotImplementedError, None),
    ),
    "05_debugging": (
        "if attempted(occluded, swapped, flip_rate):",
        "if attempted(swapped, flip_rate):",
        "occluded",
        (NameError, "'no_object'"),
    ),
}


@stems
def test_a_guard_that_asks_for_too_little_is_found(source, monkeypatch, tmp_path):
    text = source.read_text(encoding="utf-8")
    guard, careless_guard, forgotten, (error, words) = GUARDS[source.stem]
    assert guard in text
    careless = tmp_path / source.name
    careless.write_text(text.replace(guard, careless_guard), encoding="utf-8")
    with pytest.raises(error, match=words):
        run_with_todos(careless, [forgotten], monkeypatch)


@stems
def test_the_stub_in_an_answer_raises_where_the_todo_is(source):
    for cell in nbformat.read(exercise_of(source), as_version=4).cells:
        if "# TODO" in cell.source:
            last = cell.source.splitlines()[-2:]
            assert [line.strip() for line in last] == build.CODE_STUB.splitlines()


@stems
def test_plain_jupyter_can_show_every_cell(source):
    for cell in nbformat.read(exercise_of(source), as_version=4).cells:
        if cell.cell_type == "markdown":
            assert not re.search(r"\{[\w:-]+\}`|^:::|^```\{|^\([\w-]+\)=", cell.source, re.M)


@stems
def test_instructors_can_use_it_with_nbgrader_as_it_is(source):
    from nbgrader.nbgraderformat import MetadataValidator

    for path in (exercise_of(source), source.with_suffix(".ipynb")):
        notebook = nbformat.read(path, as_version=4)
        MetadataValidator().validate_nb(notebook)
        cells = [cell.metadata.nbgrader for cell in notebook.cells if "nbgrader" in cell.metadata]
        assert sum(cell.grade for cell in cells) >= 10
        assert len({cell.grade_id for cell in cells}) == len(cells)


@stems
def test_the_executed_solution_is_that_of_the_source(source):
    executed = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    assert [c.source for c in executed.cells] == [c.source for c in build.read(source).cells]
    assert "jupytext" not in executed.metadata
    for cell in executed.cells:
        if cell.cell_type == "code":
            assert cell.execution_count
            assert not any(o.output_type == "error" for o in cell.outputs)
        if re.match(r"check\(\w+\)$", cell.source):
            assert cell.outputs[0].data["text/plain"].startswith("✓")


def test_cleared_code_and_text(tmp_path):
    source = written(tmp_path, CELL + "\n<!-- ### BEGIN SOLUTION -->\nmine\n"
                     "<!-- ### END SOLUTION -->\n")  # fmt: skip
    code, text = build.exercise(source, url="").cells
    assert code.source == (
        "def f():\n    # TODO: your lines here, instead of the next one\n"
        "    raise NotImplementedError"
    )
    assert text.source == "*Your answer here.*"


@pytest.mark.parametrize(
    ("broken", "line"),
    [
        (lambda s: s.replace("    ### END SOLUTION\n", ""), 10),
        (lambda s: s.replace("    ### BEGIN SOLUTION\n", ""), 11),
        (lambda s: s.replace("    ### END", "    ### BEGIN"), 12),
        (lambda s: s.replace("### END SOLUTION", "### End solution"), 12),
        (lambda s: s.replace("### BEGIN SOLUTION", "#BEGIN SOLUTION"), 10),
        (
            lambda s: s.replace("    ### END SOLUTION", "    ### BEGIN SOLUTION ### END SOLUTION"),
            12,
        ),
        (lambda s: s.replace("    ### END SOLUTION\n", "") + "\n+++\n\n### END SOLUTION\n", 10),
    ],
    ids=["no end", "no begin", "nested", "misspelt end", "misspelt begin", "one line", "next cell"],
)
def test_unbalanced_markers_are_refused_with_file_and_line(tmp_path, broken, line):
    source = written(tmp_path, broken(CELL))
    with pytest.raises(build.SourceError, match=rf"09_test\.md, line {line}\b"):
        build.exercise(source, url="")


@pytest.mark.parametrize(
    "leak",
    [
        'In prose: `return "a secret answer"`.\n',
        '```{code-cell} ipython3\n# return "a secret answer"\n```\n',
    ],
    ids=["prose", "comment"],
)
def test_an_answer_that_stands_outside_of_its_markers_is_refused(tmp_path, leak):
    source = written(tmp_path, CELL + "\n" + leak)
    with pytest.raises(build.SourceError, match="outside of it too"):
        build.exercise(source, url="")


def test_a_marker_in_the_real_solution_cannot_be_lost(tmp_path):
    text = SOURCES[0].read_text(encoding="utf-8")
    ends = [m.start() for m in re.finditer("### END SOLUTION", text)]
    for start in ends:
        source = tmp_path / "01_saliency.md"
        source.write_text(text[:start] + text[start + len("### END SOLUTION") :], encoding="utf-8")
        with pytest.raises(build.SourceError, match="line"):
            build.exercise(source, url="")


def test_the_set_up_cell_is_there_only_with_an_address(tmp_path):
    source = written(tmp_path, CELL)
    without = build.exercise(source, url="")
    assert "colab" not in text_of(without)
    first = build.exercise(source, url="https://example.org/course").cells[0]
    assert "git+https://example.org/course" in first.source
    assert len(build.exercise(source, url="https://example.org/course").cells) == 2


def test_myst_becomes_plain_markdown():
    assert build.plain_markdown("the {term}`gradient` of {term}`it <saliency>`") == (
        "the gradient of it"
    )
    assert build.plain_markdown("(here)=\n## Title") == "## Title"
    assert build.plain_markdown(":::{note}\nLook.\n\nAgain.\n:::") == (
        "> **Note**\n>\n> Look.\n>\n> Again."
    )
    assert build.plain_markdown("```{admonition} Why\n:class: tip\nSo.\n```") == (
        "> **Why**\n>\n> So."
    )
    assert build.plain_markdown("```{math}\n:label: a\nx = 1\n```") == "$$\nx = 1\n$$"
    assert "<details>" in build.plain_markdown(":::{dropdown} Answer\nYes.\n:::")
    assert build.plain_markdown("plain `code` and $x$") == "plain `code` and $x$"


def test_the_command_says_what_it_did(monkeypatch, tmp_path, capsys):
    (tmp_path / "solutions").mkdir()
    written(tmp_path / "solutions", CELL)
    monkeypatch.setattr(build, "ROOT", tmp_path)
    assert build.main(["exercises"]) == 0
    assert "Made" in (said := capsys.readouterr().out)
    assert "Next:" in said
    written(tmp_path / "solutions", CELL.replace("### END SOLUTION", ""))
    assert build.main(["exercises"]) == 1
    assert "09_test.md, line" in capsys.readouterr().err
