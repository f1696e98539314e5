"""The same numbers as captum, for pictures and for words, and as a loop written out by hand."""

import pytest
import torch
import transformers
from captum.attr import IntegratedGradients, LayerIntegratedGradients
from torch import nn

from xai_lab import completeness_gap, integrated_gradients, path_integral, text_attributions
from xai_lab.models import text as text_models

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore:.*:UserWarning:captum"),
]
RULES = {
    "gauss-legendre": "gausslegendre",
    "midpoint": "riemann_middle",
    "left": "riemann_left",
    "right": "riemann_right",
}
every_rule = pytest.mark.parametrize(("ours", "theirs"), RULES.items(), ids=RULES)
CLASSES = torch.tensor([0, 3, 3, 4])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(128, 5),
    ).eval()


@pytest.fixture(scope="module")
def pictures():
    return torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))


@every_rule
@pytest.mark.parametrize("steps", [2, 6, 50])
def test_pictures(model, pictures, ours, theirs, steps):
    start = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    expected, delta = IntegratedGradients(model).attribute(
        pictures, start, CLASSES, n_steps=steps, method=theirs, return_convergence_delta=True
    )
    got = path_integral(model, pictures, CLASSES, baseline=start, steps=steps, rule=ours)
    torch.testing.assert_close(got.attribution, expected.float(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(got.gap, delta.double(), rtol=1e-3, atol=1e-5)


def test_their_trapezoid_is_ours_but_for_weights_that_do_not_sum_to_one(pictures):
    # On a linear model a rule gives the sum of its weights.
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 5, bias=False))
    start = torch.zeros_like(pictures)
    for steps in (2, 50):
        theirs = IntegratedGradients(linear).attribute(
            pictures, start, CLASSES, n_steps=steps, method="riemann_trapezoid"
        )
        got = integrated_gradients(
            linear, pictures, CLASSES, baseline=start, steps=steps, rule="trapezoid"
        )
        gap = completeness_gap(linear, pictures, got, CLASSES, baseline=start)
        torch.testing.assert_close(gap, torch.zeros(4).double(), atol=1e-5, rtol=0)
        short = (steps - 1) / steps
        torch.testing.assert_close(theirs.float(), short * got, rtol=1e-4, atol=1e-6)


def test_the_loop_of_the_paper(model, pictures):
    start, n = torch.zeros(3, 12, 12), 20
    expected = []
    for x, c in zip(pictures, CLASSES, strict=True):
        total = torch.zeros_like(x)
        for k in range(1, n + 1):
            point = (start + k / n * (x - start)).requires_grad_()
            model(point[None])[0, c].backward()
            total += point.grad
        expected.append((x - start) * total / n)
    model.zero_grad(set_to_none=True)
    got = integrated_gradients(
        model, pictures, CLASSES, baseline=start, steps=n, rule="right", batch_size=7
    )
    torch.testing.assert_close(got, torch.stack(expected), rtol=1e-4, atol=1e-6)


def bert():
    config = transformers.BertConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        num_labels=3,
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config)
    return model, model.bert.embeddings.word_embeddings, text_models.minilm_tokenizer()


def distilbert():
    config = transformers.DistilBertConfig(
        dim=16, n_layers=2, n_heads=2, hidden_dim=32, num_labels=3
    )
    model = transformers.DistilBertForSequenceClassification(config)
    return model, model.distilbert.embeddings.word_embeddings, text_models.minilm_tokenizer()


def gpt2(kind=transformers.GPT2LMHeadModel):
    config = transformers.GPT2Config(
        vocab_size=257, n_embd=16, n_layer=2, n_head=2, n_positions=48, num_labels=3,
        pad_token_id=256,
    )  # fmt: skip
    model = kind(config)
    return model, model.transformer.wte, text_models.byte_tokenizer(256)


def gpt2_classifier():
    return gpt2(transformers.GPT2ForSequenceClassification)


@pytest.mark.parametrize("build", [bert, distilbert, gpt2, gpt2_classifier])
@every_rule
def test_words(build, ours, theirs):
    torch.manual_seed(0)
    model, embeddings, tokenizer = build()
    model.eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(8)
    model.double()
    line = "The film was superb, alas."
    inputs = dict(tokenizer(line, return_tensors="pt"))
    ids = inputs.pop("input_ids")
    special = torch.tensor([n in (tokenizer.cls_token_id, tokenizer.sep_token_id)
                            for n in ids[0].tolist()])  # fmt: skip
    start = torch.where(special, ids, ord("a"))  # a word in each place

    def forward(ids):
        scores = model(ids, **{k: v.expand(len(ids), -1) for k, v in inputs.items()}).logits
        return scores[:, -1] if scores.ndim == 3 else scores

    expected, delta = LayerIntegratedGradients(forward, embeddings).attribute(
        ids, start, target=1, n_steps=9, method=theirs, return_convergence_delta=True
    )
    baseline = embeddings(start).detach()[0]
    (got,) = text_attributions(
        model, line, 1, tokenizer=tokenizer, baseline=baseline, steps=9, rule=ours
    )
    torch.testing.assert_close(got.values, expected.sum(2)[0].detach())
    assert got.gap == pytest.approx(delta.item(), rel=1e-4, abs=1e-6)  # theirs is rounded
    assert got.values[special].eq(0).all()


def test_words_of_a_padded_batch():
    torch.manual_seed(0)
    model, embeddings, tokenizer = bert()
    model.eval().double()
    lines = ["The film was superb, alas.", "Bland!"]
    batch = tokenizer(lines, padding=True, return_tensors="pt")
    start = torch.full_like(batch["input_ids"], tokenizer.mask_token_id)
    expected = LayerIntegratedGradients(
        lambda ids, mask: model(ids, attention_mask=mask).logits, embeddings
    ).attribute(
        batch["input_ids"], start, target=1, n_steps=9, internal_batch_size=2,
        additional_forward_args=batch["attention_mask"],
    )  # fmt: skip
    mask = embeddings.weight.detach()[tokenizer.mask_token_id]
    found = text_attributions(model, batch, 1, tokenizer=tokenizer, baseline=mask, steps=9)
    for one, theirs in zip(found, expected.sum(2).detach(), strict=True):
        torch.testing.assert_close(one.values, theirs[: len(one.tokens)])
