"""After any call on a transformer, also one that raised, its attention is computed as before."""

import inspect

import pytest
import timm
import torch
import torchvision
import transformers
from test_nothing_is_left_behind import BrokenError, snapshot
from torch import nn

import xai_lab
from xai_lab.attention import attention_layers

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
METHODS = [
    attention_layers,
    *[
        f
        for f in (getattr(xai_lab, name) for name in xai_lab.__all__)
        if inspect.isfunction(f)
        and f.__module__ in ("xai_lab.attention", "xai_lab.generation")
        and list(inspect.signature(f).parameters)[:2] == ["model", "inputs"]
    ],
]
WRITING = ("logit_lens", "prompt_attribution")


def bert():
    config = transformers.BertConfig(**SMALL, vocab_size=20, max_position_embeddings=8)
    return transformers.BertForSequenceClassification(config)


def gpt2():
    config = transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=20, n_positions=12)
    return transformers.GPT2LMHeadModel(config)


def clip():
    text = {**SMALL, "vocab_size": 20}
    vision = {**SMALL, "image_size": 8, "patch_size": 4}
    return transformers.CLIPForImageClassification(
        transformers.CLIPConfig(text_config=text, vision_config=vision)
    )


def in_timm():
    return timm.models.VisionTransformer(8, 4, embed_dim=16, depth=2, num_heads=2, num_classes=3)


def in_torchvision():
    return torchvision.models.VisionTransformer(8, 4, 2, 2, 16, 16, num_classes=3)


IDS = torch.randint(2, 20, (10, 5), generator=torch.Generator().manual_seed(0))
PICTURES = torch.rand(10, 3, 8, 8, generator=torch.Generator().manual_seed(0))
CASES = {
    "bert": (bert, IDS),
    "gpt2": (gpt2, IDS),
    "clip": (clip, PICTURES),
    "timm": (in_timm, PICTURES),
    "torchvision": (in_torchvision, PICTURES),
}
PAIRS = [
    pytest.param(method, case, id=f"{method.__name__}-{case}")
    for method in METHODS
    for case in CASES
    if (case == "gpt2" or method.__name__ not in WRITING)
    and not (case == "gpt2" and method.__name__ == "relevance")
]


def mixed(case):
    """Model that trains in parts, with an inputs' tensor that somebody else needs."""
    build, inputs = CASES[case]
    torch.manual_seed(0)
    model = build().train()
    first, *_, last = model.parameters()
    first.requires_grad_(False)
    last.grad = torch.rand_like(last)
    next(part for part in model.modules() if isinstance(part, nn.LayerNorm)).eval()
    model.register_forward_hook(lambda *_: None)
    return model, inputs.clone()


def everything(model, inputs):
    implementations = [
        getattr(part.config, "_attn_implementation", None)
        for part in model.modules()
        if hasattr(part, "config")
    ]
    return {
        **snapshot(model, inputs),
        "attention implementation": implementations,
        "fused": [getattr(part, "fused_attn", None) for part in model.modules()],
        "functions": (nn.functional.softmax, nn.functional.scaled_dot_product_attention),
    }


def called(method, model, inputs):
    if method.__name__ == "prompt_attribution":
        return method(model, inputs, inputs[:, :3])
    return method(model, inputs)


@pytest.mark.parametrize(("method", "case"), PAIRS)
def test_a_call_leaves_no_trace(method, case):
    model, inputs = mixed(case)
    before = everything(model, inputs)
    called(method, model, inputs)
    for what, value in everything(model, inputs).items():
        assert value == before[what], what


@pytest.mark.parametrize("error", [BrokenError, RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("when", [1, 2])
@pytest.mark.parametrize(("method", "case"), PAIRS)
def test_an_error_in_the_middle_leaves_no_trace(method, case, when, error):
    if when == 2 and method is attention_layers:
        when = 1  # it runs the model once
    model, inputs = mixed(case)
    calls = []

    def broken(*_):
        calls.append(1)
        if len(calls) == when:
            raise error

    # In the middle: the first block is done, the second has not begun.
    blocks = [part for part in model.modules() if isinstance(part, nn.LayerNorm)]
    blocks[-1].register_forward_pre_hook(broken)
    before = everything(model, inputs)
    with pytest.raises(error):
        called(method, model, inputs)
    for what, value in everything(model, inputs).items():
        assert value == before[what], what


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_the_kernel_is_the_one_before(kernel):
    model = bert()
    model.set_attn_implementation(kernel)
    xai_lab.attention_maps(model, IDS)
    assert model.config._attn_implementation == kernel
    assert model.bert.encoder.layer[0].attention.self.config._attn_implementation == kernel


def test_the_model_gives_the_same_outputs_afterwards():
    for build, inputs in CASES.values():
        model = build().eval()
        if build is gpt2:
            continue
        with torch.no_grad():
            before = getattr(model(inputs), "logits", model(inputs))
            xai_lab.relevance(model, inputs, 0)
            assert torch.equal(getattr(model(inputs), "logits", model(inputs)), before)


def test_a_call_inside_no_grad_or_inference_mode_works_and_leaves_it_on():
    model = in_timm().eval()
    torch.nn.init.normal_(model.head.weight)
    expected = xai_lab.relevance(model, PICTURES, 0)
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            assert torch.equal(xai_lab.relevance(model, PICTURES, 0), expected)
            assert not torch.is_grad_enabled()
