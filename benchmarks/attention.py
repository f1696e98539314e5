"""Attention beside a plain eager pass, flow beside networkx, prompts beside captum.

`python -m benchmarks.attention CONTESTANT` prints the peak memory of one contestant for a prompt.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

import xai_lab
from benchmarks.gradients import megabytes, relative_error, row
from benchmarks.measure import Row, in_fresh_process, peak_megabytes, ratio, rounds, say
from xai_lab.models.tiny_lm import story

SENTENCE = "The cat sat on the mat because it was tired"
LAYERS = 12
#: Short texts for networkx, pictures of 14 × 14 patches and a CLS token for us alone.
FEW, MANY = 16, 197


def captures() -> dict[str, tuple[nn.Module, Any]]:
    """Models with inputs, by what the row is called."""
    import timm
    from transformers import ViTConfig, ViTForImageClassification

    net = xai_lab.load("minilm")
    device = next(net.model.parameters()).device
    long = " ".join([SENTENCE] * 12)

    def encoded(text: str) -> Any:
        return net.tokenizer(text, return_tensors="pt", truncation=True, max_length=128).to(device)

    torch.manual_seed(0)
    picture = torch.rand(1, 3, 224, 224, device=device)
    config = ViTConfig(hidden_size=192, num_attention_heads=3, intermediate_size=768)
    return {
        "MiniLM, 12 tokens": (net.model, encoded(SENTENCE)),
        "MiniLM, 128 tokens": (net.model, encoded(long)),
        "ViT-Ti of transformers, 197 tokens": (
            ViTForImageClassification._from_config(config, attn_implementation="eager")
            .eval()
            .to(device),
            picture,
        ),
        "ViT-Ti of timm, 197 tokens": (
            timm.create_model("vit_tiny_patch16_224").eval().to(device),
            picture,
        ),
    }


def capture_contestants(model: nn.Module, inputs: Any) -> dict[str, Callable[[], Any]]:
    """A pass that computes attention by its formula and returns no weights, ours, and the peer."""
    if hasattr(model, "blocks"):
        for block in model.blocks:
            block.attn.fused_attn = False
    arguments = {} if isinstance(inputs, Tensor) else inputs
    positional = (inputs,) if isinstance(inputs, Tensor) else ()

    def forward(**more: Any) -> Any:
        with torch.no_grad():
            return model(*positional, **arguments, **more)

    works = {"floor": forward, "ours": partial(xai_lab.attention_maps, model, inputs)}
    if hasattr(model, "config"):
        works["output_attentions"] = lambda: torch.stack(forward(output_attentions=True).attentions)
    else:
        works["output_attentions"] = lambda: asked(model, forward)
    return works


def asked(model: nn.Module, forward: Callable[[], Any]) -> Tensor:
    """Attention of timm by a hook on the dropout behind each softmax, as its users do it."""
    seen: list[Tensor] = []
    with ExitStack() as hooks:
        for name, part in model.named_modules():
            if name.endswith("attn_drop"):
                hook = part.register_forward_hook(lambda _module, _args, y: seen.append(y))
                hooks.callback(hook.remove)
        forward()
    return torch.stack(seen)


def random_attention(tokens: int) -> Tensor:
    """Attention of twelve layers that is neither even nor sharp."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(LAYERS, 1, 4, tokens, tokens, generator=generator).mul(2).softmax(dim=-1)


def flow_by_networkx(A: Tensor) -> Tensor:
    """Attention flow to token 0, one maximum flow after the other."""
    import networkx as nx

    tokens = A.shape[-1]
    M = (0.5 * A.mean(dim=2) + 0.5 * torch.eye(tokens))[:, 0].tolist()
    graph = nx.DiGraph()
    for layer in range(len(M)):
        for i in range(tokens):
            for j in range(tokens):
                graph.add_edge((layer + 1, i), (layer, j), capacity=M[layer][i][j])
    ends = [(0, j) for j in range(tokens)]
    return torch.tensor([[nx.maximum_flow_value(graph, (len(M), 0), end) for end in ends]])


def prompt_contestants() -> dict[str, Callable[..., Any]]:
    """Occlusion of each token of a prompt, for each token of its continuation."""
    import captum.attr

    net = xai_lab.load("tiny-lm")
    words = story(2).split()
    prompt, rest = " ".join(words[:20]), " ".join(words[20:40])
    ids = net.tokenizer(prompt, return_tensors="pt")["input_ids"]
    more = net.tokenizer(rest, add_special_tokens=False, return_tensors="pt")["input_ids"]
    device = next(net.model.parameters()).device
    ids, more = ids.to(device), more.to(device)
    pad = net.tokenizer.pad_token_id

    theirs = captum.attr.LLMAttribution(captum.attr.FeatureAblation(net.model), net.tokenizer)
    tokens = captum.attr.TextTokenInput(prompt, net.tokenizer, baselines=pad)

    def by_captum(one_pass: bool) -> Tensor:
        # Its default keeps keys and values from pass to pass, which fails with transformers 5.
        found = theirs.attribute(
            tokens, target=more[0], use_cached_outputs=False, forward_in_tokens=not one_pass
        )
        return found.token_attr if found.token_attr is not None else found.seq_attr[None]

    def ours() -> Tensor:
        found = xai_lab.prompt_attribution(
            net.model, ids, more, method="occlusion", baseline=pad, batch_size=1
        )
        return found[0, :, : ids.shape[1]]

    # What the definition needs: the text, and the text without each token but the last.
    text = torch.cat([ids, more[:, :-1]], dim=1)

    def floor() -> None:
        with torch.no_grad():
            for _ in range(text.shape[1] + 1):
                net.model(text)

    return {
        "floor": floor,
        "ours": ours,
        "captum": partial(by_captum, False),
        "captum, one pass a text": partial(by_captum, True),
        "passes": partial(forward_passes, net.model.transformer),
    }


def forward_passes(model: nn.Module, work: Callable[[], Tensor]) -> int:
    """How often a contestant runs the model; captum calls its forward, past the model's hooks."""
    calls: list[int] = []
    hook = model.register_forward_hook(lambda *_: calls.append(1))
    try:
        work()
    finally:
        hook.remove()
    return len(calls)


def run(count: int, memory: bool = True) -> list[Row]:
    """Rows of the table."""
    warnings.filterwarnings("ignore", module="captum")
    rows = []
    for name, (model, inputs) in captures().items():
        say(f"attention_maps on {name}, {3 * count} rounds")
        works = capture_contestants(model, inputs)
        times = rounds(works, 3 * count)
        apart = float((works["ours"]() - works["output_attentions"]()).abs().max())
        label = "output_attentions" if hasattr(model, "config") else "a hook on attn_drop"
        error = f"apart by at most {apart:.0e}"
        rows.append(row(f"attention_maps, {name}", label, "output_attentions", times, 1, error))

    say(f"flow, {LAYERS} layers, {FEW} tokens, {count} rounds; {MANY} tokens, 3 rounds")
    A = random_attention(FEW)
    works = {"ours": partial(xai_lab.flow, A), "networkx": partial(flow_by_networkx, A)}
    times = rounds(works, count)
    large = rounds({"ours": partial(xai_lab.flow, random_attention(MANY))}, 3)["ours"]
    rows.append(
        Row(
            method=f"flow, {LAYERS} × {FEW} tokens",
            peer="networkx",
            ours=median(times["ours"]),
            theirs=median(times["networkx"]),
            ratio=ratio(times["networkx"], times["ours"]),
            passes=0,
            overhead=float("nan"),
            error=f"apart by {relative_error(works['ours'](), works['networkx']()):.0e}; "
            f"{MANY} tokens: {median(large):.1f} s",
        )
    )

    say(f"prompt_attribution, {count} rounds")
    prompt = prompt_contestants()
    passes = prompt.pop("passes")
    times = rounds(prompt, count)
    for peer in ("captum", "captum, one pass a text"):
        alike = relative_error(prompt[peer](), prompt["ours"]())
        spent = [passes(prompt[who]) for who in ("ours", peer)]
        error = f"maps differ by {alike:.0e}; forward passes {spent[0]} / {spent[1]}"
        rows.append(row("prompt_attribution, occlusion", peer, peer, times, spent[0], error))
        if memory:
            both = [in_fresh_process("benchmarks.attention", who) for who in ("ours", peer)]
            rows[-1].memory = " / ".join(map(megabytes, both))
    return rows


def main() -> None:
    """Print the peak memory of one contestant."""
    warnings.simplefilter("ignore")
    prompt_contestants()[sys.argv[1]]()
    print(json.dumps(peak_megabytes()))


if __name__ == "__main__":
    main()
