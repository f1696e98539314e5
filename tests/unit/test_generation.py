"""What a language model would say at each layer, and what made it say it."""

import pytest
import torch
import transformers
from torch import nn

import xai_lab
from xai_lab import generation
from xai_lab.generation import logit_lens, prompt_attribution

SMALL = {"vocab_size": 40, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
IDS = torch.randint(3, 40, (2, 6), generator=torch.Generator().manual_seed(0))
MORE = torch.randint(3, 40, (2, 4), generator=torch.Generator().manual_seed(1))
METHODS = pytest.mark.parametrize("method", ["gradient_x_input", "occlusion"])


def gpt2():
    config = transformers.GPT2Config(n_embd=16, n_layer=2, n_head=4, n_positions=12, **SMALL)
    return random(transformers.GPT2LMHeadModel(config))


def llama():
    config = transformers.LlamaConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=12,
        **SMALL,
    )
    return random(transformers.LlamaForCausalLM(config))


def random(model):
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight += torch.randn_like(weight) * 0.3
    return model.eval()


def bert(model_class="BertForMaskedLM"):
    config = transformers.BertConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=32,
        vocab_size=40,
    )
    return getattr(transformers, model_class)(config).eval()


models = pytest.mark.parametrize("build", [gpt2, llama])


# logit lens


@models
def test_the_last_layer_says_what_the_model_says(build):
    model = build()
    y = logit_lens(model, IDS)
    assert y.shape == (3, 2, 6, 40)
    torch.testing.assert_close(y[-1], model(IDS).logits)


@models
def test_each_layer_is_read_with_the_models_own_last_step(build):
    model = build()
    body = model.transformer if build is gpt2 else model.model
    norm = body.ln_f if build is gpt2 else body.norm
    hidden = model(IDS, output_hidden_states=True).hidden_states
    y = logit_lens(model, IDS)
    for layer in range(2):
        torch.testing.assert_close(y[layer], model.lm_head(norm(hidden[layer])))


@models
def test_positions_and_batches_are_parts_of_the_whole(build):
    model = build()
    y = logit_lens(model, IDS)
    torch.testing.assert_close(logit_lens(model, IDS, positions=-1), y[:, :, -1:])
    torch.testing.assert_close(logit_lens(model, IDS, positions=[0, 3]), y[:, :, [0, 3]])
    torch.testing.assert_close(logit_lens(model, IDS, batch_size=1), y)


def test_tiny_lm_makes_up_its_mind_in_the_last_layer():
    net = xai_lab.load("tiny-lm", device="cpu")
    text = "When Mary and John went to the garden , John gave a lamp to"
    encoded = net.tokenizer(text, return_tensors="pt", return_token_type_ids=False)
    p = logit_lens(net.model, encoded, positions=-1).softmax(dim=-1)[:, 0, 0]
    mary = p[:, net.labels.index("Mary")]
    assert mary[0] < 0.01
    assert mary[-1] > 0.9


def test_left_padding_does_not_matter_to_the_lens():
    model = gpt2()
    padded = {
        "input_ids": torch.cat([torch.ones(2, 3).long(), IDS], dim=1),
        "attention_mask": torch.cat([torch.zeros(2, 3), torch.ones(2, 6)], dim=1).long(),
    }
    torch.testing.assert_close(logit_lens(model, padded)[:, :, 3:], logit_lens(model, IDS))


class Capped(nn.Module):
    """Says something else than its head."""

    def __init__(self):
        super().__init__()
        self.inside = gpt2()
        self.config = self.inside.config

    def get_output_embeddings(self):
        return self.inside.lm_head

    def forward(self, **inputs):
        outputs = self.inside(**inputs)
        outputs.logits = outputs.logits.tanh()
        return outputs


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: gpt2().transformer, "no head over a vocabulary"),
        (lambda: nn.Linear(3, 3), "no head over a vocabulary"),
        (bert, "something else than one normalisation"),
        (Capped, "capped or scaled"),
    ],
)
def test_a_model_without_a_lens_is_refused(model, words):
    with pytest.raises(ValueError, match=words):
        logit_lens(model(), IDS)


@pytest.mark.parametrize("positions", [6, [-7], []])
def test_positions_out_of_range_are_refused(positions):
    with pytest.raises(ValueError, match="position"):
        logit_lens(gpt2(), IDS, positions=positions)


def test_a_text_longer_than_the_context_is_refused():
    with pytest.raises(ValueError, match="at most 12"):
        logit_lens(gpt2(), torch.full((1, 13), 3))


# prompt attribution


def log_probability(model, ids, position):
    """Of the token at a position, from the text before it alone."""
    y = model(ids[:, :position]).logits[:, -1].log_softmax(dim=-1)
    return y.gather(1, ids[:, position, None])[:, 0]


@models
def test_occlusion_is_the_drop_of_one_token_at_a_time(build):
    model, ids = build(), torch.cat([IDS, MORE], dim=1)
    found = prompt_attribution(model, IDS, MORE, method="occlusion", baseline=7)
    assert found.shape == (2, 4, 10)
    for g in range(4):
        for j in range(10):
            expected = torch.zeros(2)
            if j < 6 + g:
                other = ids.clone()
                other[:, j] = 7
                whole = log_probability(model, ids, 6 + g)
                expected = (whole - log_probability(model, other, 6 + g)).detach()
            torch.testing.assert_close(found[:, g, j], expected, atol=1e-5, rtol=1e-4)


@models
def test_gradients_are_those_of_one_token_at_a_time(build):
    model, ids = build(), torch.cat([IDS, MORE], dim=1)
    found = prompt_attribution(model, IDS, MORE)
    for g in range(4):
        e = model.get_input_embeddings()(ids[:, : 6 + g]).detach().requires_grad_()
        y = model(inputs_embeds=e).logits[:, -1].log_softmax(dim=-1)
        S = y.gather(1, ids[:, 6 + g, None]).sum()
        (gradient,) = torch.autograd.grad(S, e)
        torch.testing.assert_close(found[:, g, : 6 + g], (gradient * e).sum(-1).detach())
        assert (found[:, g, 6 + g :] == 0).all()


@METHODS
def test_what_comes_later_is_zero_and_no_rounding_of_it(method, monkeypatch):
    # In one pass later tokens may differ by what the kernel rounds, which would look like a cause.
    found = prompt_attribution(gpt2(), IDS, MORE, method=method)
    noise = {"gradient_x_input": "token_gradients", "occlusion": "token_drops"}[method]
    monkeypatch.setattr(generation, noise, lambda *_: torch.ones_like(found[..., :-1]))
    found = prompt_attribution(gpt2(), IDS, MORE, method=method)
    assert torch.equal(found, torch.ones(2, 4, 10).tril(5))


@METHODS
def test_all_targets_share_their_forward_passes(method):
    model, calls = gpt2(), []
    model.register_forward_hook(lambda *_: calls.append(1))
    prompt_attribution(model, IDS[:1], MORE[:1], method=method, batch_size=1)
    assert len(calls) == (1 if method == "gradient_x_input" else 10)


@METHODS
def test_neither_batches_nor_neighbours_matter(method):
    model = gpt2()
    found = prompt_attribution(model, IDS, MORE, method=method)
    torch.testing.assert_close(
        prompt_attribution(model, IDS, MORE, method=method, batch_size=1), found
    )
    torch.testing.assert_close(
        prompt_attribution(model, IDS[1:], MORE[1].tolist(), method=method), found[1:]
    )


@METHODS
@models
def test_padding_on_the_left_does_not_matter(build, method):
    model = build()
    padded = {
        "input_ids": torch.cat([torch.ones(2, 3).long(), IDS], dim=1)[:, -9:],
        "attention_mask": torch.cat([torch.zeros(2, 3), torch.ones(2, 6)], dim=1).long(),
    }
    found = prompt_attribution(model, padded, MORE[:, :3], method=method)
    alone = prompt_attribution(model, IDS, MORE[:, :3], method=method)
    torch.testing.assert_close(found[..., 3:], alone, atol=1e-5, rtol=1e-4)
    assert found[..., :3].abs().max() < 1e-5


def test_the_name_that_tiny_lm_repeats_is_found_by_occlusion():
    net = xai_lab.load("tiny-lm", device="cpu")
    text = "When Mary and John went to the garden , John gave a lamp to"
    prompt = net.tokenizer(text, return_tensors="pt", return_token_type_ids=False)
    mary = [net.labels.index("Mary")]
    owed = prompt_attribution(net.model, prompt, mary, method="occlusion")[0, 0]
    words = ["<start>", *text.split()]
    names = [owed[i] for i, word in enumerate(words) if word in ("garden", "lamp", "went")]
    assert owed[words.index("Mary")] > 10 * max(names)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"continuation": MORE[:1]}, "2 prompts"),
        ({"continuation": MORE.float()}, "numbers of tokens"),
        ({"continuation": MORE[:, :0]}, "empty"),
        ({"continuation": MORE + 40}, "not in 0 to 39"),
        ({"continuation": torch.full((2, 8), 3)}, "at most 12"),
        ({"method": "lime"}, "method is 'lime'"),
        ({"baseline": 3}, "method='occlusion'"),
        ({"baseline": 40, "method": "occlusion"}, "no token of the model"),
        ({"model": bert()}, "does not generate"),
        ({"model": nn.Linear(3, 3)}, "does not generate"),
        ({"inputs": torch.rand(2, 3, 4)}, "no input_ids"),
        (
            {"inputs": {"input_ids": IDS, "attention_mask": torch.ones(2, 6).long().tril(4)}},
            "padded on the right",
        ),
    ],
)
def test_bad_input_is_refused_with_a_reason(change, words):
    call = {"model": gpt2(), "inputs": IDS, "continuation": MORE, **change}
    with pytest.raises((ValueError, TypeError), match=words):
        prompt_attribution(**call)


def test_as_much_as_the_context_holds_is_fine():
    found = prompt_attribution(gpt2(), IDS, torch.full((2, 7), 3))
    assert found.shape == (2, 7, 13)
