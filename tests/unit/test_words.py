"""Attributions of words: padding, merging, every kind of model and of text, and bad input."""

import warnings

import pytest
import torch
import transformers
from torch import nn

import xai_lab
from xai_lab import (
    gradient_x_input,
    integrated_gradients,
    saliency,
    smooth_grad,
    text_attributions,
    words,
)
from xai_lab.models import text as text_models

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXTS = ["The film was unbelievably superb.", "Bland!", "We stayed there on Sunday, alas"]
END = 256


@pytest.fixture(scope="module")
def tokenizer():
    return text_models.minilm_tokenizer(padding_side="right")


@pytest.fixture(scope="module")
def bytewise():
    return text_models.byte_tokenizer(END)


def bert(**changes):
    torch.manual_seed(0)
    config = transformers.BertConfig(
        **SMALL, intermediate_size=32, max_position_embeddings=24, num_labels=3, **changes
    )
    model = transformers.BertForSequenceClassification(config).eval()
    return lively(model)


def distilbert():
    torch.manual_seed(0)
    config = transformers.DistilBertConfig(
        dim=16, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=24, num_labels=3
    )
    return lively(transformers.DistilBertForSequenceClassification(config).eval())


def gpt2(kind=transformers.GPT2LMHeadModel, pad=END, **changes):
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=END + 1, n_embd=16, n_layer=2, n_head=2, n_positions=48, pad_token_id=pad,
        bos_token_id=END, eos_token_id=END, **changes,
    )  # fmt: skip
    return lively(kind(config).eval())


def lively(model):
    """The same network with larger weights, so that words matter."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(8)
    return model.double()


def gpt2_classifier(**changes):
    return gpt2(transformers.GPT2ForSequenceClassification, num_labels=3, **changes)


BUILDERS = [bert, distilbert, gpt2, gpt2_classifier]
METHODS = {
    "integrated_gradients": {"method": integrated_gradients, "steps": 4},
    "tol": {"tol": 0.05, "most": 20},
    "saliency": {"method": saliency},
    "gradient_x_input": {"method": gradient_x_input},
    "smooth_grad": {"method": smooth_grad, "samples": 3},
}
every_kind = pytest.mark.parametrize("build", BUILDERS, ids=lambda f: f.__name__)
every_method = pytest.mark.parametrize("dials", METHODS.values(), ids=METHODS)
pytestmark = pytest.mark.filterwarnings(r"ignore:text \d. the gap is not below")


@pytest.fixture
def kind(build, tokenizer, bytewise):
    """A model, and its tokenizer."""
    return build(), bytewise if "gpt" in build.__name__ else tokenizer


def same(a, b):
    assert a.tokens == b.tokens
    assert a.target == b.target
    assert a.score == pytest.approx(b.score)
    torch.testing.assert_close(a.values, b.values)
    assert a.gap == (b.gap if b.gap is None else pytest.approx(b.gap, abs=1e-9))


# Padding


@every_kind
@every_method
@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_gets_nothing_and_changes_nothing(kind, dials, side):
    model, tokenizer = kind
    tokenizer.padding_side = side
    try:
        batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
        assert (batch["attention_mask"] == 0).any()
        together = text_attributions(model, batch, 1, tokenizer=tokenizer, **dials)
        from_text = text_attributions(model, TEXTS, 1, tokenizer=tokenizer, **dials)
    finally:
        tokenizer.padding_side = "right"
    for i, line in enumerate(TEXTS):
        (alone,) = text_attributions(model, line, 1, tokenizer=tokenizer, **dials)
        same(together[i], alone)
        same(from_text[i], alone)
        assert len(alone.tokens) == len(tokenizer(line)["input_ids"])
        assert alone.values.shape == (len(alone.tokens),)
        assert alone.values.abs().sum() > 0


@every_kind
def test_whatever_the_form_of_the_text_the_result_is_the_same(kind):
    model, tokenizer = kind
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    forms = [
        TEXTS,
        tuple(TEXTS),
        batch,
        dict(batch),
        {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]},
        batch["input_ids"],
    ]
    first, *others = [
        text_attributions(model, form, tokenizer=tokenizer, steps=3) for form in forms
    ]
    for other in others:
        for a, b in zip(other, first, strict=True):
            same(a, b)
            assert "".join(a.words).lower() == "".join(b.words).lower()


def test_without_a_mask_a_batch_has_no_padding(tokenizer):
    model = bert()
    ids = tokenizer(TEXTS, padding=True, return_tensors="pt")["input_ids"]
    found = text_attributions(model, {"input_ids": ids}, tokenizer=tokenizer, steps=2)
    assert [len(one.tokens) for one in found] == 3 * [ids.shape[1]]


@every_kind
def test_numbers_need_no_tokenizer(kind):
    model, tokenizer = kind
    ids = tokenizer(TEXTS[:1], return_tensors="pt")["input_ids"]
    (one,) = text_attributions(model, ids, 0, baseline="zeros", steps=3)
    assert one.tokens == one.words == [str(number) for number in ids[0].tolist()]
    assert torch.equal(one.values, one.word_values)


def test_positions_and_types_are_held_as_given(tokenizer):
    model = bert()
    ids = tokenizer(TEXTS[:1], return_tensors="pt")["input_ids"]

    def found(**more):
        inputs = {"input_ids": ids, **more}
        return text_attributions(model, inputs, 0, tokenizer=tokenizer, steps=3)[0]

    plain = found()
    same(found(token_type_ids=torch.zeros_like(ids), position_ids=torch.arange(ids.shape[1])[None]),
         plain)  # fmt: skip
    for more in ({"token_type_ids": torch.ones_like(ids)}, {"position_ids": torch.zeros_like(ids)}):
        assert found(**more).score != pytest.approx(plain.score)
        expected = model(input_ids=ids, **more).logits[0, 0].item()
        assert found(**more).score == pytest.approx(expected)


# What is explained


@every_kind
def test_the_score_and_the_class_are_the_models(kind):
    model, tokenizer = kind
    for line in TEXTS:
        outputs = model(**tokenizer(line, return_tensors="pt")).logits
        outputs = outputs[:, -1] if outputs.ndim == 3 else outputs
        (one,) = text_attributions(model, line, tokenizer=tokenizer, steps=2)
        assert one.target == outputs.argmax()
        assert one.score == pytest.approx(outputs.max().item())
        (other,) = text_attributions(model, line, 2, tokenizer=tokenizer, steps=2)
        assert other.target == 2
        assert other.score == pytest.approx(outputs[0, 2].item())


@every_kind
def test_the_parts_add_up(kind):
    model, tokenizer = kind
    for one in text_attributions(model, TEXTS, 0, tokenizer=tokenizer, steps=200):
        assert abs(one.gap) < 0.02
    (one,) = text_attributions(model, TEXTS[0], 0, tokenizer=tokenizer, steps=200)
    ids = tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
    empty = ids.clone()
    inner = slice(1, -1) if tokenizer.cls_token_id is not None else slice(None)
    empty[0, inner] = tokenizer.pad_token_id
    mask = torch.ones_like(ids)
    if type(model).__name__.startswith("GPT2For"):
        return  # it takes padding for the end of the text, wherever its mask says
    outputs = model(input_ids=empty, attention_mask=mask).logits
    at_baseline = outputs[0, -1, 0] if outputs.ndim == 3 else outputs[0, 0]
    assert one.values.sum() == pytest.approx(one.score - at_baseline.item() + one.gap)


def test_targets_may_be_one_a_text_or_a_function(tokenizer):
    model = bert()
    found = text_attributions(model, TEXTS, [2, 0, 1], tokenizer=tokenizer, steps=2)
    assert [one.target for one in found] == [2, 0, 1]
    for line, c, one in zip(TEXTS, [2, 0, 1], found, strict=True):
        same(one, text_attributions(model, line, c, tokenizer=tokenizer, steps=2)[0])
    between = text_attributions(
        model, TEXTS, lambda y: y[:, 1] - y[:, 0], tokenizer=tokenizer, steps=2
    )
    for i, one in enumerate(between):
        assert one.target is None
        parts = [text_attributions(model, TEXTS[i], c, tokenizer=tokenizer, steps=2)[0]
                 for c in (1, 0)]  # fmt: skip
        torch.testing.assert_close(one.values, parts[0].values - parts[1].values)
        assert one.score == pytest.approx(parts[0].score - parts[1].score)


def test_shares_are_summed_and_gradients_measured(tokenizer):
    model = bert()
    embeddings = words.word_embeddings(model)
    inputs = dict(tokenizer(TEXTS[0], return_tensors="pt"))
    x = words.embedded(embeddings, inputs["input_ids"])
    read = words.reader(model, inputs, embeddings)

    def found(method, **dials):
        (one,) = text_attributions(model, TEXTS[0], 1, tokenizer=tokenizer, method=method, **dials)
        return one.values

    g = saliency(read, x, 1)
    torch.testing.assert_close(found(saliency), g[0].norm(dim=1))
    torch.testing.assert_close(found(gradient_x_input), (g * x)[0].sum(1))
    drawn = smooth_grad(read, x, 1, samples=4, seed=2)
    torch.testing.assert_close(found(smooth_grad, samples=4, seed=2), drawn[0].norm(dim=1))
    phi = integrated_gradients(read, x, 1, baseline=torch.zeros_like(x), steps=5, rule="left")
    got = found(integrated_gradients, baseline=torch.zeros(16), steps=5, rule="left")
    torch.testing.assert_close(got, phi[0].sum(1))
    torch.testing.assert_close(found(lambda m, x, t, batch_size: 2 * x), 2 * x[0].sum(1))


@pytest.mark.parametrize("batch_size", [1, 3, 50])
@every_kind
def test_the_batch_size_does_not_matter(kind, batch_size):
    model, tokenizer = kind
    usual = text_attributions(model, TEXTS, tokenizer=tokenizer, steps=7)
    found = text_attributions(model, TEXTS, tokenizer=tokenizer, steps=7, batch_size=batch_size)
    for a, b in zip(found, usual, strict=True):
        same(a, b)


def test_a_classifier_like_gpt_needs_no_padding_token(bytewise):
    with_pad = text_attributions(gpt2_classifier(), TEXTS, 0, tokenizer=bytewise, steps=6)
    without = gpt2_classifier(pad=None)
    found = text_attributions(without, TEXTS, 0, tokenizer=bytewise, steps=6)
    for a, b in zip(found, with_pad, strict=True):
        same(a, b)


# Baselines of words


@pytest.mark.parametrize("name", ["pad", "mask", "unk", "zeros", "mean"])
def test_a_baseline_by_name_keeps_the_special_tokens(name, tokenizer):
    model = bert()
    embeddings = words.word_embeddings(model)
    ids = tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
    x = words.embedded(embeddings, ids)
    (got,) = words.text_baselines(name, x, ids, embeddings, tokenizer)
    assert got.shape == x.shape
    assert torch.equal(got[0, [0, -1]], x[0, [0, -1]])
    weight = embeddings.weight.detach()
    expected = {
        "pad": weight[tokenizer.pad_token_id],
        "mask": weight[tokenizer.mask_token_id],
        "unk": weight[tokenizer.unk_token_id],
        "zeros": torch.zeros(16).double(),
        "mean": weight.mean(0),
    }[name]
    assert torch.equal(got[0, 1:-1], expected.expand(len(ids[0]) - 2, 16))
    (one,) = text_attributions(model, TEXTS[0], tokenizer=tokenizer, baseline=name, steps=3)
    assert one.values[[0, -1]].eq(0).all()
    assert one.values[1:-1].ne(0).all()


def test_a_special_token_within_a_text_stays_too(tokenizer):
    (one,) = text_attributions(bert(), "good [SEP] bad", tokenizer=tokenizer, steps=3)
    assert one.tokens == ["[CLS]", "good", "[SEP]", "bad", "[SEP]"]
    assert one.values.ne(0).tolist() == [False, True, False, True, False]
    assert one.words == ["good", "[SEP]", "bad"]
    torch.testing.assert_close(one.word_values, one.values[1:4])


def test_what_begins_and_ends_a_text_is_special():
    net = xai_lab.load("tiny-lm", pretrained=False, device="cpu")
    ids = net.tokenizer.convert_tokens_to_ids(["<start>", "The", "dog", "<end>"])
    assert words.special_tokens(net.tokenizer, ids) == [True, False, False, True]
    assert words.special_tokens(None, ids) == 4 * [False]


def test_baselines_as_tensors(tokenizer):
    model = bert()
    embeddings = words.word_embeddings(model)
    pad = embeddings.weight.detach()[tokenizer.pad_token_id]
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    n, length = batch["input_ids"].shape

    def found(baseline, texts=TEXTS):
        return text_attributions(model, texts, 1, tokenizer=tokenizer, baseline=baseline, steps=3)

    vector = found(pad)
    for given in (pad.float(), pad.expand(1, length, 16), pad.expand(n, length, 16)):
        for a, b in zip(found(given), vector, strict=True):
            torch.testing.assert_close(a.values, b.values, rtol=1e-5, atol=1e-7)
    assert vector[0].values[0] != 0  # a tensor says what stands in the place of [CLS], too
    (one,) = found(pad.expand(len(vector[1].tokens), 16), TEXTS[1])
    torch.testing.assert_close(one.values, vector[1].values)


def test_each_text_of_a_batch_may_have_its_own_baseline(tokenizer):
    model = bert()
    tokenizer.padding_side = "left"
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    tokenizer.padding_side = "right"
    n, length = batch["input_ids"].shape
    starts = torch.randn(n, length, 16, dtype=torch.float64)
    found = text_attributions(model, batch, 1, tokenizer=tokenizer, baseline=starts, steps=3)
    for i, line in enumerate(TEXTS):
        own = starts[i, length - len(found[i].tokens) :]
        (alone,) = text_attributions(model, line, 1, tokenizer=tokenizer, baseline=own, steps=3)
        torch.testing.assert_close(found[i].values, alone.values)


def test_several_baselines_are_averaged_over(tokenizer):
    model = bert()

    def found(baseline):
        return text_attributions(model, TEXTS[0], 1, tokenizer=tokenizer, baseline=baseline,
                                 steps=3)[0]  # fmt: skip

    each = [found(b).values for b in ("pad", "zeros", torch.ones(16))]
    both = found(["pad", "zeros", torch.ones(16)])
    torch.testing.assert_close(both.values, torch.stack(each).mean(0))


# Words


def test_tokens_are_merged_to_the_words_of_the_text(tokenizer):
    (one,) = text_attributions(bert(), TEXTS[0], tokenizer=tokenizer, steps=3)
    assert one.tokens == "[CLS] the film was un ##bel ##ie ##va ##bly superb . [SEP]".split()
    assert one.words == TEXTS[0].split()
    parts = [one.values[1], one.values[2], one.values[3], one.values[4:9].sum(),
             one.values[9] + one.values[10]]  # fmt: skip
    torch.testing.assert_close(one.word_values, torch.stack(parts))


def test_bytes_are_merged_to_words_too(bytewise):
    line = "  née   so "
    (one,) = text_attributions(gpt2(), line, tokenizer=bytewise, steps=3)
    assert len(one.tokens) == len(line.encode())
    assert one.words == ["née", "so"]
    torch.testing.assert_close(one.word_values.sum(), one.values.sum())
    torch.testing.assert_close(one.word_values[1], one.values[9:].sum())


def test_numbers_without_special_tokens_are_merged_right(tokenizer):
    ids = tokenizer(TEXTS[0], add_special_tokens=False, return_tensors="pt")["input_ids"]
    (one,) = text_attributions(bert(), ids, tokenizer=tokenizer, steps=3)
    assert one.words == "the film was unbelievably superb.".split()
    torch.testing.assert_close(one.word_values[3], one.values[3:8].sum())
    torch.testing.assert_close(one.word_values.sum(), one.values.sum())


def test_numbers_that_no_text_gives_are_words_of_their_own(tokenizer):
    ids = torch.tensor([[101, *tokenizer.convert_tokens_to_ids(["##bly", "un", "##bel"]), 102]])
    (one,) = text_attributions(bert(), ids, tokenizer=tokenizer, steps=3)
    assert one.tokens == ["[CLS]", "##bly", "un", "##bel", "[SEP]"]
    assert one.words == ["##bly", "un", "##bel"]
    torch.testing.assert_close(one.word_values, one.values[1:4])


@every_kind
def test_a_text_that_is_too_long_is_cut_and_it_is_said_where(kind):
    model, tokenizer = kind
    line = "superb meals for all of us on Sunday, " * 4
    with pytest.warns(UserWarning, match=r"the rest was cut off after '.*'; explain it in parts"):
        (one,) = text_attributions(model, line, tokenizer=tokenizer, steps=2)
    assert len(one.tokens) == model.config.max_position_embeddings
    assert 0 < len(one.words) < len(line.split())
    assert one.words == line.split()[: len(one.words)]
    special = words.special_tokens(tokenizer, tokenizer.convert_tokens_to_ids(one.tokens))
    kept = one.values[~torch.tensor(special)] if tokenizer.cls_token_id else one.values
    torch.testing.assert_close(one.word_values.sum(), kept.sum())
    assert one.word_values.ne(0).all()


def test_unknown_tokens_are_said(tokenizer):
    with pytest.warns(UserWarning, match=r"text 1 has 2 unknown tokens \(\[UNK\]\)") as said:
        found = text_attributions(
            bert(), ["a film", "\U0001f995 film \U0001f995"], tokenizer=tokenizer, steps=2
        )
    assert len(said) == 1
    assert said[0].filename == __file__
    assert found[1].words == ["\U0001f995", "film", "\U0001f995"]


def test_an_ordinary_call_warns_of_nothing(tokenizer):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text_attributions(bert(), TEXTS, tokenizer=tokenizer, steps=2)


def test_a_warning_names_the_text(tokenizer):
    model = bert()
    batch = tokenizer(["good film", "[SEP]"], padding=True, return_tensors="pt")
    with pytest.warns(UserWarning, match="text 1 equals its baseline") as said:
        found = text_attributions(model, batch, tokenizer=tokenizer, steps=2)
    assert [one.filename for one in said] == [__file__]
    assert found[1].values.eq(0).all()
    assert found[1].words == []
    with pytest.warns(UserWarning, match=r"text 1: the gap is not below tol=1e-12 after 9 passes"):
        text_attributions(model, TEXTS[:2], tokenizer=tokenizer, tol=1e-12, most=9)


# Nothing left behind


def hooks(model):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    return [len(getattr(module, kind)) for module in model.modules() for kind in kinds]


class BrokenError(Exception):
    """Raised on purpose."""


@every_kind
@every_method
@pytest.mark.parametrize("broken", [None, "forward", "target"])
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(kind, dials, broken, training):
    model, tokenizer = kind
    model.train(training)
    next(model.parameters()).requires_grad_(False)
    handle, calls = None, []
    if broken == "forward":

        def second(_module, _arguments, _output):
            calls.append(1)
            if len(calls) == 2:
                raise BrokenError

        part = list(model.modules())[-1]
        handle = part.register_forward_hook(second)

    def target(outputs):
        if broken == "target":
            raise BrokenError
        return outputs[:, 0]

    before = hooks(model)
    state = [p.requires_grad for p in model.parameters()]
    random = torch.get_rng_state()
    if broken is None:
        text_attributions(model, TEXTS, target, tokenizer=tokenizer, **dials)
    else:
        with pytest.raises(BrokenError):
            text_attributions(model, TEXTS, target, tokenizer=tokenizer, **dials)
    assert hooks(model) == before
    assert [p.requires_grad for p in model.parameters()] == state
    assert all(p.grad is None for p in model.parameters())
    assert all(module.training == training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)
    assert handle is None or calls


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_callers_grad_mode_does_not_matter(mode, tokenizer):
    model = bert()
    usual = text_attributions(model, TEXTS, tokenizer=tokenizer, steps=3)
    with mode():
        found = text_attributions(model, TEXTS, tokenizer=tokenizer, steps=3)
    for a, b in zip(found, usual, strict=True):
        same(a, b)


# Bad input


def test_an_empty_text(tokenizer):
    for given in ("", " ", ["good", ""], []):
        with pytest.raises(ValueError, match="there is an empty text, or none"):
            text_attributions(bert(), given, tokenizer=tokenizer)
    batch = tokenizer(["good", "film"], return_tensors="pt")
    batch["attention_mask"][1] = 0
    with pytest.raises(ValueError, match="text 1 is empty: its attention mask is zero"):
        text_attributions(bert(), batch, tokenizer=tokenizer, steps=2)


def test_text_without_a_tokenizer():
    with pytest.raises(ValueError, match=r"without a tokenizer; add `tokenizer=net\.tokenizer`"):
        text_attributions(bert(), "good")


@pytest.mark.parametrize("shape", [(5,), (1, 2, 3), (0, 4), (1, 0)])
def test_numbers_of_another_shape(shape, tokenizer):
    for given in (torch.ones(shape).long(), {"input_ids": torch.ones(shape).long()}):
        with pytest.raises(ValueError, match=r"token numbers of shape .*whole numbers \(N, tokens"):
            text_attributions(bert(), given, tokenizer=tokenizer)


def test_numbers_of_another_kind(tokenizer):
    with pytest.raises(ValueError, match="float32 were given"):
        text_attributions(bert(), torch.ones(1, 3), tokenizer=tokenizer)
    with pytest.raises(ValueError, match="from 0 on"):
        text_attributions(bert(), torch.tensor([[-1, 3]]), tokenizer=tokenizer)
    with pytest.raises(TypeError, match=r'are a list, .*return_tensors="pt"'):
        text_attributions(bert(), tokenizer(["good"]), tokenizer=tokenizer)
    with pytest.raises(ValueError, match="no 'input_ids' among inputs_embeds"):
        text_attributions(bert(), {"inputs_embeds": torch.ones(1, 2, 16)}, tokenizer=tokenizer)


def test_more_numbers_than_the_model_takes(tokenizer):
    with pytest.raises(ValueError, match="the texts have 25 tokens, the model takes 24; cut them"):
        text_attributions(bert(), torch.full((1, 25), 2000), tokenizer=tokenizer, steps=2)
    text_attributions(bert(), torch.full((1, 24), 2000), tokenizer=tokenizer, steps=2)


def test_a_tokenizer_of_another_model(tokenizer, bytewise):
    sentence = "do not belong together; load both under the same name"
    with pytest.raises(ValueError, match=f"257 tokens, the tokenizer has 30522: they {sentence}"):
        text_attributions(gpt2(), "good", tokenizer=tokenizer)
    with pytest.raises(
        ValueError, match=f"pads with token 0, the tokenizer with 256: they {sentence}"
    ):
        text_attributions(bert(), "good", tokenizer=bytewise)
    with pytest.raises(
        ValueError, match=f"embeddings for 257 tokens, the tokenizer has 301: they {sentence}"
    ):
        text_attributions(gpt2(), torch.tensor([[3, 300]]), baseline="zeros")


def test_embeddings_that_cannot_be_found(tokenizer):
    class Hidden(transformers.BertForSequenceClassification):
        def get_input_embeddings(self):
            raise NotImplementedError

    model = bert()
    usual = text_attributions(model, TEXTS[0], tokenizer=tokenizer, steps=2)[0]
    model.__class__ = Hidden
    with pytest.raises(
        ValueError, match=r"of Hidden cannot be found; name their layer with `layer"
    ):
        text_attributions(model, TEXTS[0], tokenizer=tokenizer)
    name = "bert.embeddings.word_embeddings"
    same(text_attributions(model, TEXTS[0], tokenizer=tokenizer, steps=2, layer=name)[0], usual)
    with pytest.raises(ValueError, match="no layer"):
        text_attributions(model, TEXTS[0], tokenizer=tokenizer, layer="bert.embeddings.words")
    with pytest.raises(ValueError, match="cannot be found"):
        text_attributions(nn.Linear(2, 2), "good", tokenizer=tokenizer)


def test_a_model_that_is_none(tokenizer):
    net = xai_lab.load("minilm", device="cpu")
    with pytest.raises(TypeError, match=r"is a LoadedText, .*give its `\.model`"):
        text_attributions(net, "good", tokenizer=tokenizer)
    with pytest.raises(TypeError, match="is a str, expected a module of Hugging Face"):
        text_attributions("minilm", "good", tokenizer=tokenizer)
    with pytest.raises(TypeError, match=r"BertModel has no class scores to explain: .*head"):
        text_attributions(net.model, "good", tokenizer=tokenizer)


def test_a_model_that_scores_every_token(tokenizer):
    config = transformers.BertConfig(**SMALL, intermediate_size=32)
    with pytest.raises(
        TypeError, match=r"BertForTokenClassification scores every token.*picks one"
    ):
        text_attributions(
            transformers.BertForTokenClassification(config).eval(), "good", tokenizer=tokenizer
        )


def test_a_layer_that_is_not_the_embeddings(tokenizer):
    with pytest.raises(ValueError, match=r"not the word embeddings|do not belong together"):
        text_attributions(
            bert(), "good film", tokenizer=tokenizer, layer="bert.embeddings.position_embeddings"
        )


def test_baselines_that_there_are_not(tokenizer, bytewise):
    with pytest.raises(ValueError, match="no baseline 'black' for text; there are pad, mask, unk"):
        text_attributions(bert(), "good", tokenizer=tokenizer, baseline="black")
    with pytest.raises(ValueError, match="there is no mask token; take the baseline 'zeros'"):
        text_attributions(gpt2(), "good", tokenizer=bytewise, baseline="mask")
    with pytest.raises(ValueError, match="no pad token, because no tokenizer was given"):
        text_attributions(bert(), torch.tensor([[101, 2000, 102]]))
    with pytest.raises(ValueError, match=r"shape \(7,\), expected \(16,\) for every token or"):
        text_attributions(bert(), "good", tokenizer=tokenizer, baseline=torch.zeros(7))
    with pytest.raises(ValueError, match=r"shape \(2, 9, 16\), expected \(N, tokens, D\)"):
        text_attributions(bert(), "good", tokenizer=tokenizer, baseline=torch.zeros(2, 9, 16))
    with pytest.raises(ValueError, match="NaN"):
        text_attributions(
            bert(), "good", tokenizer=tokenizer, baseline=torch.full((16,), float("nan"))
        )


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"target": 5}, ValueError, "out of range: the model has classes 0 to 2"),
        ({"target": [0, 1]}, ValueError, "for 1 samples"),
        ({"steps": 0}, ValueError, "steps is 0"),
        ({"tol": 0}, ValueError, "tol is 0"),
        ({"batch_size": 0}, ValueError, "batch_size is 0"),
    ],
)
def test_other_bad_input(change, error, said, tokenizer):
    with pytest.raises(error, match=said):
        text_attributions(bert(), "good", **{"tokenizer": tokenizer, "steps": 2, **change})


# A network that knows something


def test_the_words_that_carry_the_sentiment_come_first():
    net = xai_lab.load("minilm-sentiment", device="cpu")
    made = xai_lab.data.sentences.sentences(6, seed=5)
    found = text_attributions(net.model, made.texts, tokenizer=net.tokenizer, steps=16)
    first = 0
    for one, causes in zip(found, made.causes, strict=True):
        first += causes[int(one.word_values.argmax())]
        assert one.words == [w for w in made.words[found.index(one)]]
    assert first >= 5


@pytest.mark.gpu
@every_kind
@every_method
def test_a_gpu_gives_the_cpus_result(kind, dials):
    model, tokenizer = kind
    expected = text_attributions(model, TEXTS, tokenizer=tokenizer, **dials)
    got = text_attributions(model.cuda(), TEXTS, tokenizer=tokenizer, **dials)
    for a, b in zip(got, expected, strict=True):
        assert a.values.is_cuda
        torch.testing.assert_close(a.values.cpu(), b.values)
        assert a.target == b.target
