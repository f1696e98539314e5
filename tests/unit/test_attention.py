"""Attention out of any transformer: what comes out, what is refused, what must not change it."""

import copy

import networkx as nx
import pytest
import timm
import torch
import torchvision
import transformers
from torch import nn

import xai_lab
from xai_lab.attention import (
    attention_layers,
    attention_maps,
    cls_map,
    distance,
    entropy,
    flow,
    relevance,
    rollout,
)

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
}
TEXT = {**SMALL, "vocab_size": 40, "max_position_embeddings": 24, "pad_token_id": 1}
PICTURE = {**SMALL, "image_size": 16, "patch_size": 4}
CONFIGURATIONS = {
    "bert": ("BertForSequenceClassification", transformers.BertConfig(**TEXT)),
    "distilbert": (
        "DistilBertForSequenceClassification",
        transformers.DistilBertConfig(
            dim=16,
            n_layers=2,
            n_heads=4,
            hidden_dim=32,
            vocab_size=40,
            max_position_embeddings=24,
            pad_token_id=1,
        ),
    ),
    "roberta": ("RobertaForSequenceClassification", transformers.RobertaConfig(**TEXT)),
    "gpt2": (
        "GPT2LMHeadModel",
        transformers.GPT2Config(
            n_embd=16, n_layer=2, n_head=4, vocab_size=40, n_positions=24, pad_token_id=1
        ),
    ),
    "llama": ("LlamaForCausalLM", transformers.LlamaConfig(**TEXT, num_key_value_heads=2)),
    "vit": ("ViTForImageClassification", transformers.ViTConfig(**PICTURE)),
    "deit": ("DeiTForImageClassification", transformers.DeiTConfig(**PICTURE)),
}
WORDS = ["bert", "distilbert", "roberta", "gpt2", "llama"]
IDS = torch.randint(2, 40, (3, 7), generator=torch.Generator().manual_seed(0))
PICTURES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _the_same_weights_every_time():
    torch.manual_seed(0)


def wide(model):
    """Weights as wide as those of a trained network, so that attention is far from even."""
    with torch.no_grad():
        for weight in model.parameters():
            weight += torch.randn_like(weight) * (0.4 if weight.ndim > 1 else 0.1)
    return model.eval()


def hugging_face(name, kernel="sdpa"):
    model_class, config = CONFIGURATIONS[name]
    config = copy.deepcopy(config)
    return wide(getattr(transformers, model_class)._from_config(config, attn_implementation=kernel))


def in_timm():
    return wide(
        timm.models.VisionTransformer(
            16, 4, embed_dim=16, depth=2, num_heads=4, mlp_ratio=2, num_classes=3
        )
    )


def in_torchvision():
    return wide(torchvision.models.VisionTransformer(16, 4, 2, 4, 16, 32, num_classes=3))


def in_torch(batch_first=True):
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=batch_first)
    return wide(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))


def anything():
    """Each kind of transformer, with inputs."""
    for name in CONFIGURATIONS:
        yield name, lambda name=name: (hugging_face(name), IDS if name in WORDS else PICTURES)
    yield "timm", lambda: (in_timm(), PICTURES)
    yield "torchvision", lambda: (in_torchvision(), PICTURES)
    yield "torch", lambda: (in_torch(), torch.rand(3, 7, 16))
    yield "torch, tokens first", lambda: (in_torch(False), torch.rand(3, 7, 16))
    yield "one attention", lambda: (wide(nn.MultiheadAttention(16, 4)), torch.rand(3, 7, 16))


KINDS = dict(anything())
kinds = pytest.mark.parametrize("kind", KINDS)
words = pytest.mark.parametrize("name", WORDS)


def random_attention(layers=2, n=2, heads=3, tokens=6, seed=0, sharp=3):
    generator = torch.Generator().manual_seed(seed)
    shape = (layers, n, heads, tokens, tokens)
    return torch.randn(shape, generator=generator, dtype=torch.float64).mul(sharp).softmax(-1)


# attention_maps


@kinds
def test_rows_sum_to_one_whatever_the_transformer(kind):
    model, inputs = KINDS[kind]()
    A = attention_maps(model, inputs)
    layers = 1 if kind == "one attention" else 2
    tokens = {"deit": 18}.get(kind, 17 if inputs.ndim == 4 else 7)
    assert A.shape == (layers, 3, 4, tokens, tokens)
    assert not A.requires_grad
    assert A.dtype == torch.float32
    assert (A >= 0).all()
    torch.testing.assert_close(A.sum(dim=-1), torch.ones_like(A[..., 0]))
    assert A.std() > 0.02


@kinds
def test_the_batch_size_does_not_matter(kind):
    model, inputs = KINDS[kind]()
    torch.testing.assert_close(
        attention_maps(model, inputs, batch_size=2), attention_maps(model, inputs)
    )


@kinds
def test_a_sample_does_not_see_its_neighbours(kind):
    model, inputs = KINDS[kind]()
    torch.testing.assert_close(
        attention_maps(model, inputs[1:2]), attention_maps(model, inputs)[:, 1:2]
    )


@words
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_does_not_matter(name, side):
    model = hugging_face(name)
    alone = attention_maps(model, IDS[:1])
    pads = torch.full((1, 4), 1)
    parts = [IDS[:1], pads] if side == "right" else [pads, IDS[:1]]
    masks = [torch.ones(1, 7), torch.zeros(1, 4)]
    padded = {
        "input_ids": torch.cat(parts, dim=1),
        "attention_mask": torch.cat(masks if side == "right" else masks[::-1], dim=1).long(),
    }
    A = attention_maps(model, padded)
    start = 0 if side == "right" else 4
    torch.testing.assert_close(A[..., start : start + 7, start : start + 7], alone)
    outside = A.clone()
    outside[..., start : start + 7, start : start + 7] = 0
    assert (outside == 0).all()


def test_padding_of_torchs_own_encoder_is_left_out():
    x = torch.rand(2, 5, 16)
    padded = torch.zeros(2, 5, dtype=torch.bool)
    padded[1, 3:] = True
    model = in_torch()
    A = attention_maps(model, {"src": x, "src_key_padding_mask": padded})
    assert (A[:, 1, :, 3:] == 0).all()
    assert (A[:, 1, :, :, 3:] == 0).all()
    torch.testing.assert_close(A[:, 1:, :, :3, :3], attention_maps(model, x[1:, :3]))


@words
def test_a_tokenizers_output_and_bare_numbers_give_the_same(name):
    model = hugging_face(name)
    encoded = transformers.BatchEncoding({"input_ids": IDS, "attention_mask": torch.ones_like(IDS)})
    torch.testing.assert_close(attention_maps(model, encoded), attention_maps(model, IDS))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_decoder_looks_back_only(name):
    assert (attention_maps(hugging_face(name), IDS).triu(1) == 0).all()


def test_heads_that_share_keys_have_a_matrix_each():
    A = attention_maps(hugging_face("llama"), IDS)
    assert A.shape[2] == 4
    assert not torch.allclose(A[:, :, 0], A[:, :, 1])


@kinds
def test_layers_are_chosen_by_number_name_or_block(kind):
    model, inputs = KINDS[kind]()
    everything, names = attention_maps(model, inputs), attention_layers(model, inputs)
    torch.testing.assert_close(attention_maps(model, inputs, layers=-1), everything[-1:])
    if names == [""]:
        return
    torch.testing.assert_close(attention_maps(model, inputs, layers=names[1]), everything[1:])
    torch.testing.assert_close(attention_maps(model, inputs, layers=[1, 0]), everything.flip(0))
    module = model.get_submodule(names[0])
    torch.testing.assert_close(attention_maps(model, inputs, layers=module), everything[:1])
    block = names[0].rpartition(".")[0]
    torch.testing.assert_close(attention_maps(model, inputs, layers=block), everything[:1])


def test_names_are_those_of_the_modules_that_attend():
    assert attention_layers(in_timm(), PICTURES) == ["blocks.0.attn", "blocks.1.attn"]
    assert attention_layers(hugging_face("gpt2"), IDS) == [
        "transformer.h.0.attn",
        "transformer.h.1.attn",
    ]


def test_a_handwritten_attention_is_seen_too():
    class Own(nn.Module):
        def __init__(self, single):
            super().__init__()
            self.single, self.attend = single, nn.Sequential(nn.Identity())

        def forward(self, x):
            a = x @ x.mT if self.single else (x @ x.mT)[:, None].expand(-1, 2, -1, -1)
            return torch.softmax(a, -1)

    x = torch.rand(2, 5, 4)
    expected = (x @ x.mT).softmax(dim=-1)
    torch.testing.assert_close(attention_maps(Own(True), x), expected[None, :, None])
    assert attention_maps(Own(False), x).shape == (1, 2, 2, 5, 5)


def test_half_precision_gives_float32():
    assert attention_maps(hugging_face("llama").bfloat16(), IDS).dtype == torch.float32
    assert attention_maps(in_timm().bfloat16(), PICTURES.bfloat16()).dtype == torch.float32


def test_minilm_has_the_heads_that_it_is_known_for():
    net = xai_lab.load("minilm", device="cpu")
    encoded = net.tokenizer("The cat sat on the mat because it was tired", return_tensors="pt")
    A = attention_maps(net.model, encoded)
    assert A[0, 0, 2].diagonal(-1).mean() == pytest.approx(0.9996, abs=1e-4)
    tokens = net.tokenizer.convert_ids_to_tokens(encoded["input_ids"][0])
    assert A[5, 0, 11, tokens.index("it"), tokens.index("cat")] == pytest.approx(0.68, abs=0.005)


# what is refused


def swin():
    config = transformers.SwinConfig(
        image_size=32, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4
    )
    return transformers.SwinForImageClassification(config).eval()


def t5():
    config = transformers.T5Config(
        d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=4, vocab_size=40
    )
    return transformers.T5ForConditionalGeneration(config).eval()


REFUSED = {
    "no attention": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, 3)),
        PICTURES,
        "no attention was seen",
    ),
    "windows": (swin, torch.rand(1, 3, 32, 32), "within windows"),
    "windows of torchvision": (
        lambda: torchvision.models.SwinTransformer([2, 2], 8, [1, 1], [2, 2], [4, 4]).eval(),
        torch.rand(1, 3, 32, 32),
        "within windows",
    ),
    "two transformers": (t5, IDS, "encoder and a decoder"),
    "torch's two": (lambda: nn.Transformer(16, 4, 1, 1), torch.rand(1, 4, 16), "and a decoder"),
    "too many tokens": (lambda: hugging_face("bert"), torch.full((1, 25), 3), "at most 24"),
    "too many for RoBERTa": (
        lambda: hugging_face("roberta"),
        torch.full((1, 23), 3),
        "at most 22",
    ),
    "unknown tokens": (lambda: hugging_face("bert"), torch.full((1, 5), 40), "knows 0 to 39"),
    "a text": (lambda: hugging_face("bert"), "The cat sat", "tokenizer"),
    "lists": (lambda: hugging_face("bert"), {"input_ids": [[1, 2]]}, "return_tensors"),
    "nothing": (lambda: hugging_face("bert"), {}, "are empty"),
    "no batch": (
        lambda: hugging_face("bert"),
        {"input_ids": IDS[0], "attention_mask": IDS[0]},
        r"\(N, T\)",
    ),
    "two lengths": (
        lambda: hugging_face("bert"),
        {"input_ids": IDS, "attention_mask": IDS[:2]},
        "same number N",
    ),
    "NaN": (lambda: hugging_face("vit"), PICTURES * float("nan"), "NaN"),
    "what load returned": (
        lambda: xai_lab.load("tiny-lm", device="cpu"),
        torch.full((1, 5), 3),
        r"\.model",
    ),
    "no module": (lambda: len, PICTURES, "torch.nn.Module"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("function", [attention_maps, relevance])
def test_what_has_no_attention_to_show_is_refused_with_a_reason(case, function):
    model, inputs, words = REFUSED[case]
    with pytest.raises((ValueError, TypeError), match=words):
        function(model(), inputs)


def test_one_part_of_an_encoder_and_decoder_is_fine():
    assert attention_maps(t5().get_encoder(), IDS).shape == (1, 3, 4, 7, 7)
    config = transformers.BartConfig(
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        vocab_size=40,
    )
    bart = transformers.BartModel(config).eval()
    assert attention_maps(bart.get_encoder(), IDS).shape == (1, 3, 4, 7, 7)


def test_as_many_tokens_as_fit_are_fine():
    assert attention_maps(hugging_face("bert"), torch.full((1, 24), 3)).shape[-1] == 24
    assert attention_maps(hugging_face("roberta"), torch.full((1, 22), 3)).shape[-1] == 22


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (2, "layer 2 is out of range"),
        (-3, "layer -3 is out of range"),
        ("blocks.7", "no layer 'blocks.7'"),
        ("norm", "computes no attention; these do: blocks.0.attn"),
        ([], "no layer was named"),
        (True, "layer is True"),
    ],
)
def test_a_layer_that_is_not_there_is_said(layers, words):
    with pytest.raises((ValueError, TypeError), match=words):
        attention_maps(in_timm(), PICTURES, layers=layers)


def test_layers_of_different_sizes_are_named():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = (nn.MultiheadAttention(16, h, batch_first=True) for h in (2, 4))

        def forward(self, x):
            return self.two(*[self.one(x, x, x)[0]] * 3)[0]

    x = torch.rand(1, 5, 16)
    with pytest.raises(ValueError, match="different shapes"):
        attention_maps(Two(), x)
    assert attention_maps(Two(), x, layers="two").shape == (1, 1, 4, 5, 5)


def test_attention_pooling_is_left_out_by_name():
    model = wide(
        timm.models.VisionTransformer(
            16, 4, embed_dim=16, depth=2, num_heads=4, global_pool="map", class_token=False
        )
    )
    with pytest.raises(ValueError, match="1 tokens look at 16 others"):
        attention_maps(model, PICTURES)
    assert attention_maps(model, PICTURES, layers="blocks").shape == (2, 3, 4, 16, 16)


@pytest.mark.parametrize("nothing", [(), None, [None, None]])
@pytest.mark.parametrize("function", [rollout, flow, entropy, lambda A: cls_map(A, (8, 8))])
def test_attention_that_a_kernel_never_returned_is_said(nothing, function):
    with pytest.raises(ValueError, match="kernel never returned any"):
        function(nothing)


@pytest.mark.parametrize("function", [rollout, flow])
@pytest.mark.parametrize(
    ("A", "words"),
    [
        (torch.rand(3, 4, 4), r"expected \(layers, N, heads, T, T\)"),
        (torch.rand(1, 1, 1, 3, 4), r"expected \(layers, N, heads, T, T\)"),
        ([torch.rand(1, 2, 4, 4), torch.rand(1, 2, 5, 5)], "different shapes"),
        (torch.randn(1, 1, 1, 4, 4), "negative"),
        (torch.full((1, 1, 1, 4, 4), float("nan")), "NaN"),
        (torch.ones(1, 1, 1, 4, 4, dtype=torch.long), "floating point"),
    ],
)
def test_what_is_no_attention_is_refused(function, A, words):
    with pytest.raises((ValueError, TypeError), match=words):
        function(A)


@pytest.mark.parametrize("function", [rollout, flow])
@pytest.mark.parametrize(
    "option", [{"fusion": "sum"}, {"discard": 1.0}, {"discard": -0.1}, {"residual": 1.5}]
)
def test_options_out_of_range_are_refused(function, option):
    with pytest.raises(ValueError, match=next(iter(option))):
        function(random_attention(), **option)


# rollout and flow


def by_hand(A, residual=0.5):
    """Matrices of rollout for one sample, in the formula's words."""
    M = residual * torch.eye(A.shape[-1], dtype=A.dtype) + (1 - residual) * A.mean(dim=1)
    return M / M.sum(dim=-1, keepdim=True)


def test_rollout_multiplies_later_layers_on_the_left():
    A = random_attention(layers=3)
    first, second, third = by_hand(A[:, 0])
    torch.testing.assert_close(rollout(A)[0], third @ second @ first)


def test_rollout_adds_up_all_paths():
    A = random_attention(layers=3, n=1, tokens=3)
    M = by_hand(A[:, 0])
    expected = torch.zeros(3, 3, dtype=torch.float64)
    for i in range(3):
        for j in range(3):
            for k in range(3):
                for end in range(3):
                    expected[i, end] += M[2, i, j] * M[1, j, k] * M[0, k, end]
    torch.testing.assert_close(rollout(A)[0], expected)


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("discard", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("residual", [0.0, 0.5, 1.0])
def test_rollout_gives_distributions(fusion, discard, residual):
    R = rollout(random_attention(), fusion=fusion, discard=discard, residual=residual)
    torch.testing.assert_close(R.sum(dim=-1), torch.ones_like(R[..., 0]))


def test_fusion_is_over_heads():
    A = random_attention(layers=1, n=1)
    for fusion, name in (("mean", "mean"), ("max", "amax"), ("min", "amin")):
        M = getattr(A[0, 0], name)(0)
        expected = M / M.sum(dim=-1, keepdim=True)
        torch.testing.assert_close(rollout(A, fusion=fusion, residual=0.0)[0], expected)


def test_discarding_cuts_the_smallest_links_of_each_row():
    A = torch.tensor(
        [[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 0.5, 0.5], [1.0, 0, 0, 0], [0.7, 0.1, 0.1, 0.1]]
    )
    R = rollout(A[None, None, None], discard=0.5, residual=0.0)[0]
    torch.testing.assert_close(R[0], torch.tensor([0, 0, 3 / 7, 4 / 7]))
    assert (R[1] > 0).sum() == 1
    torch.testing.assert_close(R[2], A[2])
    assert (R[3] > 0).sum() == 2
    assert R[3, 0] == pytest.approx(7 / 8)


def test_without_attention_to_others_rollout_is_the_identity():
    assert torch.equal(rollout(torch.eye(4).expand(3, 1, 2, 4, 4)), torch.eye(4)[None])


@words
def test_rollout_and_flow_leave_padding_out(name):
    model = hugging_face(name)
    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 0]])
    A = attention_maps(model, {"input_ids": IDS[:1], "attention_mask": mask})
    alone = attention_maps(model, IDS[:1, :5])
    R = rollout(A, discard=0.3)
    torch.testing.assert_close(R[:, :5, :5], rollout(alone, discard=0.3))
    assert (R[:, 5:] == 0).all()
    assert (R[:, :, 5:] == 0).all()
    torch.testing.assert_close(flow(A, 4)[:, :5], flow(alone, 4))
    assert (flow(A, 6) == 0).all()


def by_networkx(A, token):
    """Attention flow of one sample by its definition, ``(T,)``."""
    M = by_hand(A)
    tokens = M.shape[-1]
    graph = nx.DiGraph()
    for layer in range(len(M)):
        for i in range(tokens):
            for j in range(tokens):
                graph.add_edge((layer + 1, i), (layer, j), capacity=float(M[layer, i, j]))
    ends = [(0, j) for j in range(tokens)]
    values = [nx.maximum_flow_value(graph, (len(M), token), end) for end in ends]
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("token", [0, 3, -1])
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_flow_is_networkxs(layers, token):
    A = random_attention(layers, n=2, tokens=5, sharp=4)
    found = flow(A, token)
    for n in range(2):
        expected = by_networkx(A[:, n], token % 5)
        torch.testing.assert_close(found[n], expected, atol=1e-7, rtol=0)


def test_through_one_layer_the_flow_is_the_row():
    A = random_attention(layers=1)
    torch.testing.assert_close(flow(A, 2), rollout(A)[:, 2], atol=1e-8, rtol=0)


def test_flow_is_no_less_than_rollout():
    A = random_attention(layers=4)
    assert (flow(A, 1) >= rollout(A)[:, 1] - 1e-7).all()


def test_flow_of_a_token_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="token 6 is out of range"):
        flow(random_attention(), 6)


# relevance


class TwoLayers(nn.Module):
    """Attention that is the softmax of parameters: everything can be worked out by hand."""

    def __init__(self, heads=2, tokens=3):
        super().__init__()
        torch.manual_seed(0)
        shape = (heads, tokens, tokens)
        self.scores = nn.ParameterList([nn.Parameter(torch.randn(shape)) for _ in range(2)])
        self.readout = nn.Parameter(torch.randn(4, 2))

    def forward(self, x):
        for scores in self.scores:
            A = scores.expand(len(x), -1, -1, -1).softmax(dim=-1)
            x = x + (A @ x[:, None]).sum(dim=1)
        return x[:, 0] @ self.readout


def test_relevance_of_two_layers_by_hand():
    model, x = TwoLayers().double(), torch.randn(2, 3, 4, dtype=torch.float64)
    with torch.no_grad():
        A1, A2 = (scores.softmax(dim=-1) for scores in model.scores)
        x1 = x + (A1 @ x[:, None]).sum(dim=1)
        u = model.readout[:, 1]
        # S = u · x2[0], x2[0] = x1[0] + Σ_hj A2[h, 0, j] x1[j], so ∂S/∂A2[h, 0, j] = u · x1[j].
        g2 = torch.zeros(2, 2, 3, 3, dtype=torch.float64)
        g2[:, :, 0] = (x1 @ u)[:, None]
        # x1[i] counts Σ_h A2[h, 0, i] times, once more for i = 0, so
        # ∂S/∂A1[h, i, j] = (Σ_h A2[h, 0, i] + [i = 0]) u · x[j].
        weight = A2.sum(dim=0)[0] + torch.tensor([1.0, 0, 0])
        g1 = (weight[:, None] * (x @ u)[:, None, :])[:, None].expand(2, 2, 3, 3)
        R1 = torch.eye(3) + (g1 * A1).clamp(min=0).mean(dim=1)
        expected = R1 + (g2 * A2).clamp(min=0).mean(dim=1) @ R1
        only_second = torch.eye(3) + (g2 * A2).clamp(min=0).mean(dim=1)
    torch.testing.assert_close(relevance(model, x, 1), expected)
    torch.testing.assert_close(relevance(model, x, 1, start_layer=1), only_second.double())


def from_eager_outputs(model, inputs, target):
    """Relevance of Hugging Face's model out of what it returns itself."""
    model = copy.deepcopy(model)
    model.set_attn_implementation("eager")
    outputs = model(inputs, output_attentions=True)
    S = outputs.logits[:, target].sum()
    R = torch.eye(outputs.attentions[0].shape[-1])
    for A, g in zip(outputs.attentions, torch.autograd.grad(S, outputs.attentions), strict=True):
        R = R + (A * g).clamp(min=0).mean(dim=1) @ R
    return R.detach()


@pytest.mark.parametrize("name", ["bert", "distilbert", "roberta", "vit", "deit"])
def test_relevance_is_that_of_eager_outputs(name):
    model, inputs = KINDS[name]()
    R = relevance(model, inputs, 1)
    torch.testing.assert_close(R, from_eager_outputs(model, inputs, 1))
    assert (R[:, 0] > 0).sum() > 10


def explicit(model):
    """Torchvision's or timm's transformer with attention in plain steps, for a check."""

    class Plain(nn.Module):
        def __init__(self, qkv, out):
            super().__init__()
            self.qkv, self.out = qkv, out

        def forward(self, x, *_arguments, **_options):
            q, k, v = self.qkv(x).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
            A = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)
            out = self.out((A @ v).transpose(1, 2).flatten(2))
            return (out, None) if isinstance(model, torchvision.models.VisionTransformer) else out

    plain = copy.deepcopy(model)
    if isinstance(model, torchvision.models.VisionTransformer):
        for block in plain.encoder.layers:
            old = block.self_attention
            qkv = nn.Linear(16, 48)
            qkv.weight, qkv.bias = old.in_proj_weight, old.in_proj_bias
            block.self_attention = Plain(qkv, old.out_proj)
    else:
        for block in plain.blocks:
            block.attn = Plain(block.attn.qkv, block.attn.proj)
    return plain


@pytest.mark.parametrize("build", [in_timm, in_torchvision])
def test_fused_kernels_give_what_plain_steps_give(build):
    model = build()
    plain = explicit(model)
    torch.testing.assert_close(plain(PICTURES), model(PICTURES))
    torch.testing.assert_close(attention_maps(model, PICTURES), attention_maps(plain, PICTURES))
    R = relevance(model, PICTURES, 2)
    torch.testing.assert_close(R, relevance(plain, PICTURES, 2))
    assert (R[:, 0, 1:] > 0).any()


@pytest.mark.parametrize("kind", ["bert", "vit", "timm", "torchvision"])
def test_relevance_does_not_depend_on_the_batch_size(kind):
    model, inputs = KINDS[kind]()
    torch.testing.assert_close(
        relevance(model, inputs, [0, 1, 0], batch_size=2), relevance(model, inputs, [0, 1, 0])
    )


@pytest.mark.parametrize("name", ["bert", "distilbert", "roberta"])
def test_relevance_leaves_padding_out(name):
    model = hugging_face(name)
    mask = torch.tensor([[1, 1, 1, 1, 1, 0, 0]])
    ids = IDS[:1].masked_fill(mask == 0, 1)
    R = relevance(model, {"input_ids": ids, "attention_mask": mask}, 0)
    torch.testing.assert_close(R[:, :5, :5], relevance(model, ids[:, :5], 0))
    assert (R[:, 5:] == 0).all()
    assert (R[:, :, 5:] == 0).all()


def test_relevance_explains_the_predicted_class_by_default():
    model = in_timm()
    predicted = model(PICTURES).argmax(dim=1)
    torch.testing.assert_close(relevance(model, PICTURES), relevance(model, PICTURES, predicted))


def test_relevance_needs_a_score_that_depends_on_attention():
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = in_timm()

        def forward(self, x):
            return self.inside(x).detach()

    with pytest.raises(ValueError, match="does not depend on the attention"):
        relevance(Cut(), PICTURES)


@pytest.mark.parametrize("start", [2, -1, 1.0])
def test_relevance_needs_a_layer_to_start_at(start):
    with pytest.raises(ValueError, match="start_layer"):
        relevance(in_timm(), PICTURES, start_layer=start)


def test_relevance_needs_class_scores():
    with pytest.raises(TypeError, match="wrap the model"):
        relevance(hugging_face("bert").bert, IDS)
    with pytest.raises(ValueError, match=r"expected \(3, K\)"):
        relevance(hugging_face("gpt2"), IDS)


# cls_map


def test_the_cls_row_lies_on_the_grid_row_by_row():
    A = torch.zeros(2, 1, 3, 13, 13)
    A[1, 0, 2, 0] = torch.arange(13)
    grid = cls_map(A, (48, 64), upsample=False)
    assert grid.shape == (1, 3, 3, 4)
    assert torch.equal(grid[0, 2], torch.arange(1.0, 13.0).reshape(3, 4))
    assert torch.equal(cls_map(A, (48, 64), head=2, upsample=False), grid[:, 2])
    assert torch.equal(cls_map(A, (48, 64), head=-1, upsample=False), grid[:, 2])
    assert (cls_map(A, (48, 64), layer=0) == 0).all()


def test_cls_map_takes_the_row_and_not_the_column():
    R = torch.zeros(1, 5, 5)
    R[0, 0, 1:] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    R[0, 1:, 0] = 9.0
    assert torch.equal(cls_map(R, (8, 8), upsample=False)[0], torch.tensor([[1.0, 2], [3, 4]]))
    assert torch.equal(
        cls_map(R[:, 0], (8, 8), upsample=False)[0], torch.tensor([[1.0, 2], [3, 4]])
    )


def test_cls_maps_are_as_large_as_the_picture():
    A = attention_maps(in_timm(), PICTURES)
    assert cls_map(A, (16, 16)).shape == (3, 4, 16, 16)
    assert cls_map(A, (16, 16), head=0).shape == (3, 16, 16)
    assert cls_map(rollout(A), (16, 16)).shape == (3, 16, 16)
    assert cls_map(flow(A), (16, 16)).shape == (3, 16, 16)
    inner = cls_map(A, (16, 16), layer=0, head=1)
    expected = nn.functional.interpolate(
        A[0, :, 1, 0, 1:].reshape(3, 1, 4, 4), (16, 16), mode="bilinear"
    )[:, 0]
    torch.testing.assert_close(inner, expected)


def test_distillation_and_register_tokens_are_dropped():
    A = attention_maps(hugging_face("deit"), PICTURES)
    assert A.shape[-1] == 2 + 16  # CLS, distillation, patches
    found = cls_map(A, (16, 16), upsample=False)
    assert torch.equal(found, A[-1, :, :, 0, 2:].unflatten(-1, (4, 4)))
    assert not torch.allclose(found, A[-1, :, :, 2:, 0].unflatten(-1, (4, 4)))
    R = rollout(A)
    assert torch.equal(cls_map(R, (16, 16), upsample=False), R[:, 0, 2:].unflatten(-1, (4, 4)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layer": 2}, "layer 2 is out of range"),
        ({"head": 3}, "head 3 is out of range"),
        ({"head": "mean"}, "head is 'mean'"),
    ],
)
def test_a_layer_or_head_out_of_range_is_said(options, words):
    with pytest.raises((ValueError, TypeError), match=words):
        cls_map(random_attention(tokens=5), (8, 8), **options)


def test_tokens_without_cls_or_without_a_grid_are_refused():
    with pytest.raises(ValueError, match="no CLS token"):
        cls_map(random_attention(tokens=4), (8, 8))
    with pytest.raises(ValueError, match="no grid"):
        cls_map(random_attention(tokens=4), (8, 800))
    with pytest.raises(ValueError, match=r"expected \(N, T, T\)"):
        cls_map(torch.rand(1, 5, 4), (8, 8))


# entropy and distance


def test_entropy_is_the_formula():
    A = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    log = torch.tensor([1.5 * torch.log(torch.tensor(2.0)), 0.0, torch.log(torch.tensor(3.0))])
    torch.testing.assert_close(entropy(A), log)


def test_distance_is_the_formula():
    A = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    torch.testing.assert_close(distance(A), torch.tensor([0.75, 1.0, 0.0]))


def test_distance_on_a_grid_is_the_straight_line_between_patches():
    A = torch.zeros(7, 7)
    A[1, 6] = 0.2  # from patch (0, 0) to patch (1, 2)
    A[1, 0] = 0.8  # CLS has no place
    A[2, 2] = 1.0
    A[3:, 1] = 1.0
    A[0, 0] = 1.0
    D = distance(A, grid=(2, 3))
    expected = [5**0.5, 0.0, 2.0, 1.0, 2**0.5, 5**0.5]
    torch.testing.assert_close(D, torch.tensor(expected))
    with pytest.raises(ValueError, match="3 × 3 patches"):
        distance(A, grid=(3, 3))


@pytest.mark.parametrize("function", [entropy, distance])
def test_padding_is_left_out_of_entropy_and_distance(function):
    model = hugging_face("bert")
    mask = torch.ones_like(IDS)
    mask[1, 5:] = 0
    ids = IDS.masked_fill(mask == 0, 1)
    found = function(attention_maps(model, {"input_ids": ids, "attention_mask": mask}))
    assert found.shape == (2, 3, 4, 7)
    assert found[:, 1, :, 5:].isnan().all()
    assert found.isnan().sum() == 2 * 4 * 2
    torch.testing.assert_close(found[:, 1:2, :, :5], function(attention_maps(model, ids[1:2, :5])))
    model.set_attn_implementation("eager")
    raw = model(ids, mask, output_attentions=True).attentions
    torch.testing.assert_close(function(torch.stack(raw), mask), found, equal_nan=True)


@pytest.mark.parametrize("function", [entropy, distance])
def test_a_mask_of_another_length_is_refused(function):
    with pytest.raises(ValueError, match=r"expected \(N, 6\)"):
        function(random_attention(), torch.ones(2, 5))
    with pytest.raises(ValueError, match=r"expected \(…, T, T\)"):
        function(torch.rand(2, 3))
