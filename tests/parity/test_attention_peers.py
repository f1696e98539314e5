"""Captured attention beside what each library returns when asked; written text beside captum."""

import captum.attr
import networkx as nx
import pytest
import timm
import torch
import torchvision
import transformers
from torch import nn

import xai_lab
from xai_lab.attention import attention_maps, flow, rollout
from xai_lab.generation import prompt_attribution

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore:.*:UserWarning:captum")]

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
}
TEXT = {**SMALL, "vocab_size": 40, "max_position_embeddings": 24, "pad_token_id": 1}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 4, "vocab_size": 40, "n_positions": 24}
DISTIL = {"dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 32, "vocab_size": 40}
FEW = {**TEXT, "num_key_value_heads": 2}
PICTURE = {**SMALL, "image_size": 16, "patch_size": 4}
FAMILIES = {
    "BertModel": transformers.BertConfig(**TEXT),
    "DistilBertModel": transformers.DistilBertConfig(**DISTIL),
    "RobertaModel": transformers.RobertaConfig(**TEXT),
    "ElectraModel": transformers.ElectraConfig(**TEXT, embedding_size=16),
    "GPT2LMHeadModel": transformers.GPT2Config(**GPT2),
    "GPTNeoXForCausalLM": transformers.GPTNeoXConfig(**TEXT),
    "LlamaForCausalLM": transformers.LlamaConfig(**FEW),
    "Qwen2ForCausalLM": transformers.Qwen2Config(**FEW),
    "MistralForCausalLM": transformers.MistralConfig(**FEW),
    "Gemma2ForCausalLM": transformers.Gemma2Config(**FEW, head_dim=4),
    "OPTForCausalLM": transformers.OPTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=32,
        vocab_size=40,
        max_position_embeddings=24,
        word_embed_proj_dim=16,
    ),
    "BloomForCausalLM": transformers.BloomConfig(
        hidden_size=16, n_layer=2, n_head=4, vocab_size=40
    ),
    "ViTModel": transformers.ViTConfig(**PICTURE),
    "DeiTModel": transformers.DeiTConfig(**PICTURE),
    "Dinov2Model": transformers.Dinov2Config(**PICTURE),
    "CLIPVisionModel": transformers.CLIPVisionConfig(**PICTURE),
}
PICTURES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
IDS = torch.randint(2, 40, (2, 7), generator=torch.Generator().manual_seed(0))
MASK = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]])


def wide(model):
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += torch.randn_like(weight) * (0.4 if weight.ndim > 1 else 0.1)
    return model.eval()


def inputs_of(model):
    if model.main_input_name == "pixel_values":
        return {"pixel_values": PICTURES}
    return {"input_ids": IDS, "attention_mask": MASK}


@pytest.mark.parametrize("kernel", [None, "eager"], ids=["default", "eager"])
@pytest.mark.parametrize("name", FAMILIES)
def test_captured_attention_is_hugging_faces_eager_attention(name, kernel):
    torch.manual_seed(0)
    model = wide(
        getattr(transformers, name)._from_config(FAMILIES[name], attn_implementation=kernel)
    )
    inputs = inputs_of(model)
    found = attention_maps(model, inputs)
    model.set_attn_implementation("eager")
    expected = torch.stack(model(**inputs, output_attentions=True).attentions)
    if "attention_mask" in inputs:
        expected = expected * MASK[:, None, :, None]
    torch.testing.assert_close(found, expected)
    assert expected[:, 0].std() > 0.01


class Watched(nn.Module):
    """Keeps what passes through, such as the dropout behind a softmax."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def forward(self, x):
        self.seen.append(x)
        return x


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(
    "options",
    [{}, {"qk_norm": True}, {"reg_tokens": 4}, {"class_token": False, "global_pool": "avg"}],
)
def test_captured_attention_is_timms_own(options, fused):
    torch.manual_seed(0)
    model = wide(
        timm.models.VisionTransformer(
            16, 4, embed_dim=16, depth=2, num_heads=4, num_classes=3, **options
        )
    )
    for block in model.blocks:
        block.attn.fused_attn = fused
    found = attention_maps(model, PICTURES)
    seen = []
    for block in model.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop = Watched(seen)
    model(PICTURES)
    torch.testing.assert_close(found, torch.stack(seen))


@pytest.mark.parametrize("name", ["eva", "beit", "deit"])
def test_other_transformers_of_timm_are_seen(name):
    sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 4}
    classes = {
        "eva": (timm.models.eva.Eva, {"use_rot_pos_emb": True}),
        "beit": (timm.models.beit.Beit, {}),
        "deit": (timm.models.deit.VisionTransformerDistilled, {}),
    }
    build, options = classes[name]
    torch.manual_seed(0)
    model = wide(build(**sizes, **options, num_classes=3))
    found = attention_maps(model, PICTURES)
    for block in model.blocks:
        block.attn.fused_attn = False
    torch.testing.assert_close(found, attention_maps(model, PICTURES))
    assert found.shape == (2, 2, 4, *[18 if name == "deit" else 17] * 2)


def asked(attention, seen):
    """Let ``nn.MultiheadAttention`` keep the weights that it returns when asked."""

    def forward(*args, **kwargs):
        kwargs |= {"need_weights": True, "average_attn_weights": False}
        output, A = nn.MultiheadAttention.forward(attention, *args, **kwargs)
        seen.append(A)
        return output, A

    attention.forward = forward


def test_captured_attention_is_torchvisions_own():
    torch.manual_seed(0)
    model = wide(torchvision.models.VisionTransformer(16, 4, 2, 4, 16, 32))
    found, seen = attention_maps(model, PICTURES), []
    for block in model.encoder.layers:
        asked(block.self_attention, seen)
    model(PICTURES)
    torch.testing.assert_close(found, torch.stack(seen))


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
def test_captured_attention_is_that_of_torchs_layers(batch_first, norm_first):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=batch_first, norm_first=norm_first)
    model = wide(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))
    x = torch.rand(2, 7, 16)
    found, seen = attention_maps(model, x), []
    for block in model.layers:
        asked(block.self_attn, seen)
    with torch.enable_grad():  # the fast path hands out nothing
        model(x if batch_first else x.transpose(0, 1))
    torch.testing.assert_close(found, torch.stack(seen))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"is_causal": True},
        {"attn_mask": torch.tensor([[True, True, False, True, False]] * 5)},
        {"attn_mask": torch.tensor([[False] * 5] + [[True] * 5] * 4)},
        {"attn_mask": torch.randn(5, 5)},
        {"scale": 0.3},
        {"enable_gqa": True},
    ],
)
def test_the_formula_is_the_fused_kernel(options):
    class Kernel(nn.Module):
        def forward(self, q):
            k, v = (q.flip(-2), q.cos()) if "enable_gqa" not in options else (q[:, :2], q[:, 1:3])
            self.seen = nn.functional.scaled_dot_product_attention(q, k, v, **options)
            return self.seen

    model, q = Kernel(), torch.randn(2, 4, 5, 8)
    expected = model(q)
    A = attention_maps(model, q)
    torch.testing.assert_close(model.seen, expected)
    assert A.shape == (1, 2, 4, 5, 5)


def test_flow_and_rollout_of_minilm_are_networkxs():
    net = xai_lab.load("minilm", device="cpu")
    A = attention_maps(net.model, net.tokenizer("The cat sat", return_tensors="pt"))
    M = (0.5 * A.double().mean(dim=2) + 0.5 * torch.eye(5))[:, 0]
    M = M / M.sum(dim=-1, keepdim=True)
    graph = nx.DiGraph()
    for layer in range(6):
        for i in range(5):
            for j in range(5):
                graph.add_edge((layer + 1, i), (layer, j), capacity=float(M[layer, i, j]))
    expected = [nx.maximum_flow_value(graph, (6, 2), (0, j)) for j in range(5)]
    torch.testing.assert_close(flow(A, 2)[0], torch.tensor(expected), atol=1e-6, rtol=0)
    paths = torch.eye(5).double()
    for layer in M:
        paths = layer @ paths
    torch.testing.assert_close(rollout(A)[0], paths.float())


def test_occlusion_of_a_prompt_is_captums():
    torch.manual_seed(0)
    model = wide(transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2)))
    prompt, target = IDS[:1, :5], IDS[1, :4]
    whole = torch.cat([prompt, target[None]], dim=1)

    def log_probability(ids, g):
        y = model(torch.cat([ids, target[None, :g].expand(len(ids), -1)], dim=1)).logits[:, -1]
        return y.log_softmax(dim=-1)[:, target[g]]

    found = prompt_attribution(model, prompt, target, method="occlusion", baseline=1)
    assert found.shape == (1, 4, whole.shape[1])
    ablation = captum.attr.FeatureAblation(log_probability)
    with torch.no_grad():
        for g in range(4):
            expected = ablation.attribute(prompt, baselines=1, additional_forward_args=g)
            torch.testing.assert_close(found[0, g, :5], expected[0].float(), atol=1e-5, rtol=1e-4)


def test_gradient_x_input_of_a_prompt_is_captums():
    torch.manual_seed(0)
    model = wide(transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2)))
    prompt, target = IDS[:1, :5], IDS[1, :4]
    found = prompt_attribution(model, prompt, target)
    embed = model.get_input_embeddings()

    def log_probability(e, g):
        more = embed(target[None, :g])
        y = model(inputs_embeds=torch.cat([e, more], dim=1)).logits[:, -1]
        return y.log_softmax(dim=-1)[:, target[g]]

    method = captum.attr.InputXGradient(log_probability)
    for g in range(4):
        expected = method.attribute(embed(prompt).detach(), additional_forward_args=g).sum(dim=-1)
        torch.testing.assert_close(found[0, g, :5], expected[0].detach())
