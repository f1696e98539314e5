"""What each method costs: passes that were counted, processor time, memory.

`python -m benchmarks.costs` writes `costs.json`, from which the book makes its tables of costs.
With names of groups it measures only these again.

Read `counting`, the only place that decides what a pass is, then the groups: a model, an input, and
the calls whose cost is asked for.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import platform
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

import xai_lab
from benchmarks.measure import peak_megabytes, say

RESULTS = Path(__file__).parent / "costs.json"
FORGET_PEAK = Path("/proc/self/clear_refs")
SENTENCE = "The plot was not dull, and the end was superb."
PROMPT = "On Monday Mary met Tom at the market . Mary gave a lamp to"
SCENES = 96


@dataclass(frozen=True)
class Passes:
    """Samples that went through a model.

    Attributes
    ----------
    forward : int
        Samples times forward passes.
    backward : int
        Samples times backward passes through at least one layer.
    share : float
        Of the layers with weights, how many such a backward pass goes through: 1 if it goes back to
        the input, a few hundredths if it ends at a late layer.
    """

    forward: int
    backward: int
    share: float


@contextmanager
def counting(model: nn.Module) -> Iterator[Callable[[], Passes]]:
    """Count what goes through a model, forward and back; the result is asked for afterwards.

    A forward pass is a call of the model. A backward pass is a gradient that arrives at the *input*
    of a layer with weights, and so has gone through that layer. (A gradient with respect to the
    class scores goes through none, and costs nothing.)
    """
    there: Counter[str] = Counter()
    back: Counter[str] = Counter()
    calls = 0

    def called(_module: nn.Module, _args: object, _kwargs: object, output: Any) -> None:
        nonlocal calls
        calls += len(getattr(output, "logits", getattr(output, "last_hidden_state", output)))

    def entering(name: str) -> Callable[..., None]:
        def note(g: Tensor) -> None:
            back[name] += len(g)

        def enter(_module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
            tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
            if not tensors or not tensors[0].is_floating_point():
                return  # numbers of tokens have no gradient
            there[name] += len(tensors[0])
            if tensors[0].requires_grad:
                tensors[0].register_hook(note)

        return enter

    def counted() -> Passes:
        most = max(back.values(), default=0)
        share = sum(back.values()) / (most * len(there)) if most else 0.0
        return Passes(calls, most, share)

    with ExitStack() as hooks:
        handle = model.register_forward_hook(called, with_kwargs=True)
        hooks.callback(handle.remove)
        for name, layer in model.named_modules():
            if any(True for _ in layer.parameters(recurse=False)):
                handle = layer.register_forward_pre_hook(entering(name), with_kwargs=True)
                hooks.callback(handle.remove)
        yield counted


# -------------------------------------------------------------------------------------- the groups


@dataclass(frozen=True)
class Case:
    """One call whose cost is asked for.

    Attributes
    ----------
    title : str
        In the book's table; Markdown, seen from the folder `book`.
    work : callable
        The call.
    samples : int
        Inputs that it explains; what is recorded is the cost of all of them together.
    """

    title: str
    work: Callable[[], object]
    samples: int = 1


def photo() -> tuple[nn.Module, dict[str, Case]]:
    """Maps of one photo."""
    from xai_lab.cam import cam

    net = xai_lab.load("efficientnet-lite0")
    x = net.preprocess("cat")
    c = int(xai_lab.predict(net.model, x).argmax())
    five = {str(k): k for k in range(c, c + 5)}
    asked = (net.model, x, c)
    black = {"normalisation": net.normalisation}
    chapter_1, chapter_2 = "../chapters/01_saliency.md", "../chapters/02_cam.md"
    path = "../chapters/03_integrated_gradients.md"
    cases = {
        "forward": Case("one forward pass, the unit", partial(xai_lab.predict, net.model, x)),
        "saliency": Case(f"[saliency]({chapter_1})", partial(xai_lab.saliency, *asked)),
        "gradient_x_input": Case(
            f"[gradient × input]({chapter_1}#gradient--input)",
            partial(xai_lab.gradient_x_input, *asked),
        ),
        "guided_backprop": Case(
            f"[guided backprop]({chapter_1}#a-sharp-map-that-has-learned-nothing), a warning",
            partial(xai_lab.guided_backprop, *asked),
        ),
        "smooth_grad": Case(
            f"[SmoothGrad]({chapter_1}#smoothgrad), its square and VarGrad, 50 draws",
            partial(xai_lab.smooth_grad_statistics, *asked),
        ),
        "cam": Case(f"[CAM]({chapter_2}#the-formula)", partial(cam, *asked)),
        "grad_cam": Case(
            f"[Grad-CAM]({chapter_2}#gradients-in-place-of-weights)",
            partial(xai_lab.grad_cam, *asked),
        ),
        "grad_cam_five": Case(
            "Grad-CAM of five classes at once", partial(xai_lab.grad_cam, net.model, x, five)
        ),
        "hires_cam": Case(
            f"[HiResCAM]({chapter_2}#three-refinements-and-what-they-change)",
            partial(xai_lab.hires_cam, *asked),
        ),
        "grad_cam_plus_plus": Case(
            f"[Grad-CAM++]({chapter_2}#three-refinements-and-what-they-change)",
            partial(xai_lab.grad_cam_plus_plus, *asked),
        ),
        "layer_cam": Case(
            f"[LayerCAM]({chapter_2}#three-refinements-and-what-they-change)",
            partial(xai_lab.layer_cam, *asked),
        ),
        "layer_cam_early": Case(
            "LayerCAM of an earlier layer, 28 × 28 cells",
            partial(xai_lab.layer_cam, *asked, layer="blocks.2"),
        ),
        "score_cam_32": Case(
            f"[Score-CAM]({chapter_2}#three-refinements-and-what-they-change), 32 channels",
            partial(xai_lab.score_cam, *asked, channels=32),
        ),
        "integrated": Case(
            f"[Integrated Gradients]({path}#the-formula), 48 steps",
            partial(xai_lab.integrated_gradients, *asked, **black),
        ),
        "integrated_tol": Case(
            f"Integrated Gradients, [until the gap is 5%]({path}#the-number-of-steps)",
            partial(xai_lab.integrated_gradients, *asked, **black, tol=0.05),
        ),
    }
    return net.model, cases


def photo_slow() -> tuple[nn.Module, dict[str, Case]]:
    """A map that takes a minute."""
    model, cases = photo()
    x = xai_lab.load("efficientnet-lite0").preprocess("cat")
    c = int(xai_lab.predict(model, x).argmax())
    title = "Score-CAM, all channels that vary"
    slow = Case(title, partial(xai_lab.score_cam, model, x, c))
    return model, {"forward": cases["forward"], "score_cam": slow}


def photo_evidence() -> tuple[nn.Module, dict[str, Case]]:
    """Maps of one photo, and the experiments that test them."""
    from xai_lab.evidence import elsewhere, hidden, highlighted

    net = xai_lab.load("efficientnet-lite0")
    x = net.preprocess("cat")
    order = xai_lab.predict(net.model, x)[0].argsort(descending=True).tolist()
    marked = highlighted(xai_lab.grad_cam(net.model, x, order[0]))
    areas = torch.cat([marked, elsewhere(marked[0], 20, seed=0)])
    # With a mask all experiments are done; without one it depends on how sure the outline is.
    y, across = torch.meshgrid(
        *[torch.linspace(-1, 1, side) for side in x.shape[2:]], indexing="ij"
    )
    disc = (y**2 + across**2 < 0.5).to(x.device)
    interpreter = xai_lab.ImageInterpreter(net)
    cases = {
        "forward": Case("one forward pass", partial(xai_lab.predict, net.model, x)),
        "hidden": Case(
            "one area hidden, and 20 equal ones elsewhere, with two fills",
            partial(hidden, net.model, x, areas, ("blur", "inpaint")),
        ),
        "interpreter": Case(
            "`ImageInterpreter`: three maps, each with evidence", lambda: interpreter(x)
        ),
        "diagnose": Case(
            "`diagnose`: one mistake",
            partial(xai_lab.diagnose, net, x, order[1], mask=disc),
        ),
    }
    return net.model, cases


def sentence() -> tuple[nn.Module, dict[str, Case]]:
    """Words of one sentence of 14 tokens."""
    net = xai_lab.load("minilm-sentiment")
    tokens = net.preprocess(SENTENCE)
    spelled = net.tokenizer.convert_ids_to_tokens(tokens["input_ids"][0])
    explained = partial(
        xai_lab.text_attributions, net.model, SENTENCE, 1, tokenizer=net.tokenizer, baseline="mask"
    )
    interpreter = xai_lab.TextInterpreter(net)
    words = SENTENCE.split()
    masks = [" ".join([*words[:k], "[MASK]", *words[k + 1 :]]) for k in range(len(words))]

    def attention() -> Any:
        return xai_lab.attention_maps(net.model, tokens)

    def read(texts: list[str]) -> Tensor:
        with torch.no_grad():
            return net.model(**net.preprocess(texts)).logits

    path = "../chapters/03_integrated_gradients.md"
    chapter_4 = "../chapters/04_attention.md"
    cases = {
        "forward": Case("one forward pass, the unit", partial(read, [SENTENCE])),
        "text_saliency": Case(
            "[gradient](../chapters/01_saliency.md), its length for each word",
            partial(explained, method=xai_lab.saliency),
        ),
        "text_gradient_x_input": Case(
            f"[gradient × input]({path}#words)",
            partial(explained, method=xai_lab.gradient_x_input),
        ),
        "text_integrated": Case(f"[Integrated Gradients]({path}#words), 48 steps", explained),
        "text_integrated_tol": Case(
            "Integrated Gradients, until the gap is 1%", partial(explained, tol=0.01)
        ),
        "attention_maps": Case(
            f"[attention]({chapter_4}#on-a-real-network), and its patterns",
            lambda: xai_lab.head_patterns(attention(), spelled),
        ),
        "rollout": Case(
            f"[rollout]({chapter_4}#from-layers-to-one-map)", lambda: xai_lab.rollout(attention())
        ),
        "flow": Case(
            f"[flow]({chapter_4}#from-layers-to-one-map)", lambda: xai_lab.flow(attention())
        ),
        "relevance": Case(
            f"[relevance]({chapter_4}#from-layers-to-one-map)",
            partial(xai_lab.relevance, net.model, tokens, 1),
        ),
        "masking": Case(
            f"[masking]({chapter_4}#it-looks-here-and-decides-by-something-else), word by word",
            partial(read, [SENTENCE, *masks]),
        ),
        "text_interpreter": Case(
            "`TextInterpreter`: two maps, each with evidence", lambda: interpreter(SENTENCE)
        ),
    }
    return net.model, cases


def prompt() -> tuple[nn.Module, dict[str, Case]]:
    """One word that a language model says after a prompt of 14 tokens."""
    lm = xai_lab.load("tiny-lm")
    story = lm.preprocess(PROMPT)
    answer = [lm.labels.index("Tom")]
    owes = partial(xai_lab.prompt_attribution, lm.model, story, answer)

    def read() -> Tensor:
        with torch.no_grad():
            return lm.model(**story).logits

    chapter_4 = "../chapters/04_attention.md#text-that-writes-itself"
    cases = {
        "forward": Case("one forward pass, the unit", read),
        "logit_lens": Case(
            f"[logit lens]({chapter_4})", partial(xai_lab.logit_lens, lm.model, story)
        ),
        "prompt_gradient": Case(f"[gradient × input]({chapter_4})", owes),
        "prompt_occlusion": Case(f"[occlusion]({chapter_4})", partial(owes, method="occlusion")),
    }
    return lm.model, cases


def dataset() -> tuple[nn.Module, dict[str, Case]]:
    """A data set of small pictures, 64 pixels, on a small network."""
    from xai_lab.data.scenes import scenes

    net = xai_lab.load("scenes-cnn-background")
    made = scenes(SCENES, seed=1, background_bias=1)
    data = (made.images, made.labels, made.masks)
    cases = {
        "forward": Case(
            "one forward pass", partial(xai_lab.predict, net.model, made.images[:1].to(net.device))
        ),
        "find_shortcuts": Case(
            f"`find_shortcuts`: {SCENES} scenes", partial(xai_lab.find_shortcuts, net, data),
            samples=SCENES,
        ),
    }  # fmt: skip
    return net.model, cases


GROUPS: dict[str, Callable[[], tuple[nn.Module, dict[str, Case]]]] = {
    "photo": photo,
    "photo_slow": photo_slow,
    "photo_evidence": photo_evidence,
    "sentence": sentence,
    "prompt": prompt,
    "dataset": dataset,
}
ROUNDS = 4
#: Calls that take longer, in seconds, are timed twice and take no part in the rounds.
SLOW = 5


# ------------------------------------------------------------------------------------- measurement


def count(model: nn.Module, work: Callable[[], object]) -> Passes:
    """Passes of one call, not the first: a model's first Grad-CAM also looks for its layer."""
    with counting(model) as counted:
        work()
    return counted()


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call, which other programs do not lengthen; on a GPU, time."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        return time.perf_counter() - start
    start = time.process_time()
    work()
    return time.process_time() - start


def megabytes(work: Callable[[], object]) -> float | None:
    """Most memory that a call adds to what is held before it; None where that cannot be told."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated() / 2**20
    elif FORGET_PEAK.exists():
        with suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)  # give back what earlier calls have freed
        before = psutil.Process().memory_info().rss / 2**20
        FORGET_PEAK.write_text("5")  # the peak starts again from what is held now
    else:
        work()
        return None
    work()
    return peak_megabytes() - before


def measured(group: str) -> dict[str, Any]:
    """Everything about one group; times are the least of several rounds, taking turns."""
    model, cases = GROUPS[group]()
    passes: dict[str, Passes] = {}
    memory: dict[str, float | None] = {}
    times: dict[str, float] = {}
    for key, case in cases.items():

        def once_more(key: str = key, case: Case = case) -> None:
            passes[key] = count(model, case.work)

        times[key] = seconds(case.work)
        memory[key] = megabytes(once_more)
        say(f"{group}: {key}, {times[key]:.2g} s")
    for _ in range(ROUNDS):
        for key, case in cases.items():
            repeats = 0 if times[key] > SLOW else max(1, min(10, int(0.1 / times[key])))
            times[key] = min([times[key], *(seconds(case.work) for _ in range(repeats))])
    rows: dict[str, Any] = {}
    for key, case in cases.items():
        most = memory[key]
        rows[key] = {"title": case.title, "samples": case.samples, **asdict(passes[key])}
        rows[key]["share"] = round(passes[key].share, 3)
        rows[key]["seconds"] = float(f"{times[key]:.3g}")
        rows[key]["times"] = float(f"{times[key] / times['forward']:.3g}")
        rows[key]["megabytes"] = None if most is None else round(most, 1)
    return {"about": (GROUPS[group].__doc__ or "").strip(), "machine": machine(), "rows": rows}


def machine() -> str:
    """Where the times are from."""
    where = f"{platform.machine()}, one thread, processor time"
    if torch.cuda.is_available():
        where = torch.cuda.get_device_name()
    names = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "timm"))
    return f"{where}; Python {platform.python_version()}, {names}"


def main() -> None:
    """Measure the groups that were asked for, all by default, and keep the others."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.costs")
    parser.add_argument("groups", nargs="*", help=f"of {', '.join(GROUPS)}")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    unknown = set(options.groups) - set(GROUPS)
    if unknown:
        parser.error(f"there is no group {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    results = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    for group in options.groups or GROUPS:
        results[group] = measured(group)
        ordered = {name: results[name] for name in GROUPS if name in results}
        RESULTS.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
