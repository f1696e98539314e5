"""Interpreters, diagnoses and surveys call a model hundreds of times, and leave it as it was."""

import subprocess
import sys
import warnings

import pytest
import torch
import transformers
from test_nothing_is_left_behind import BrokenError, Mixed, check, snapshot
from test_transformers_are_put_back import SMALL, everything

import xai_lab

LABELS = torch.arange(10) % 5


def mixed(where=None, error=BrokenError):
    """Model as it trains, and a class that it does not say to the first picture."""
    model = Mixed(where, error)
    model.other = (xai_lab.predict(model, batch()).argmax(dim=1)[0].item() + 1) % 5
    return model


def batch():
    x = torch.rand(10, 3, 6, 6, generator=torch.Generator().manual_seed(1), requires_grad=True)
    x.grad = torch.ones_like(x)
    return x


def interpreted(model, inputs, target=None):
    """Two maps of one picture, with their evidence."""
    asked = xai_lab.ImageInterpreter(model, methods=["Grad-CAM", "SmoothGrad"], samples=2)
    return asked(inputs[:1], target)[0].to_dict(maps=True)


def diagnosed(model, inputs, target=None):
    """Diagnosis of a picture that is taken for another class than the one that is true."""
    mask = torch.zeros(6, 6, dtype=torch.bool)
    mask[1:4, 1:4] = True
    other = model.other if target is None else target
    return xai_lab.diagnose(model, inputs[:1], other, mask=mask, samples=2).to_dict(maps=True)


def surveyed(model, inputs, _target=None):
    """Short cuts of a data set of ten pictures."""
    masks = torch.zeros(10, 6, 6, dtype=torch.bool)
    masks[:, 1:4, 1:4] = True
    return xai_lab.find_shortcuts(model, (inputs.detach(), LABELS, masks), cells=2).to_dict()


pictures = pytest.mark.parametrize("call", [interpreted, diagnosed, surveyed])


@pictures
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_a_call_leaves_no_trace_in_any_grad_mode(call, mode):
    model = mixed()
    with mode():
        check(call, model, batch().detach().clone(), target=None)
    check(call, model, batch(), target=None)


@pictures
@pytest.mark.parametrize("error", [BrokenError, RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("when", [1, 2, 5])
def test_a_model_that_raises_sooner_or_later_leaves_no_trace(call, error, when):
    model, calls = mixed(), []

    def broken(_module, _arguments):
        calls.append(1)
        if len(calls) == when:
            raise error

    model.trouble.register_forward_pre_hook(broken)
    check(call, model, batch(), error, target=None)
    assert len(calls) == when


@pictures
@pytest.mark.parametrize("error", [BrokenError, KeyboardInterrupt])
def test_a_backward_pass_that_raises_leaves_no_trace(call, error):
    check(call, mixed("backward", error), batch(), error, target=None)


@pytest.mark.parametrize("call", [interpreted, diagnosed])
def test_a_class_that_is_none_leaves_no_trace(call):
    check(call, mixed(), batch(), ValueError, target=99)


@pictures
def test_the_global_random_state_does_not_decide_the_result(call):
    model, results = mixed(), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        results.append(call(model, batch()))
    assert repr(results[0]) == repr(results[1])


# Text

TEXT = "The soup was not bland, and the waiter smiled."


@pytest.fixture(scope="module")
def tokenizer():
    return xai_lab.load("minilm", device="cpu").tokenizer


def reader(tokenizer):
    """Small network that reads, part of it training, part frozen."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        **SMALL, vocab_size=len(tokenizer), max_position_embeddings=32, num_labels=2
    )
    model = transformers.BertForSequenceClassification(config).train()
    model.bert.encoder.layer[0].eval()
    model.bert.embeddings.word_embeddings.weight.requires_grad_(False)
    model.classifier.weight.grad = torch.rand_like(model.classifier.weight)
    model.register_forward_hook(lambda *_: None)
    return model


def read(model, tokenizer):
    return xai_lab.TextInterpreter(model, tokenizer, labels=["no", "yes"], samples=2)(TEXT)


def test_reading_leaves_no_trace(tokenizer):
    model, ids = reader(tokenizer), torch.zeros(1)
    sides = (tokenizer.padding_side, tokenizer.truncation_side, tokenizer.pad_token)
    before = everything(model, ids)
    read(model, tokenizer)
    for what, value in everything(model, ids).items():
        assert value == before[what], what
    assert (tokenizer.padding_side, tokenizer.truncation_side, tokenizer.pad_token) == sides


@pytest.mark.parametrize("error", [BrokenError, KeyboardInterrupt])
@pytest.mark.parametrize("when", [1, 3, 8])
def test_reading_that_breaks_off_leaves_no_trace(tokenizer, error, when):
    model, ids, calls = reader(tokenizer), torch.zeros(1), []

    def broken(*_):
        calls.append(1)
        if len(calls) == when:
            raise error

    model.bert.encoder.layer[1].register_forward_pre_hook(broken)
    before = everything(model, ids)
    with pytest.raises(error):
        read(model, tokenizer)
    for what, value in everything(model, ids).items():
        assert value == before[what], what


def test_warnings_of_others_are_still_shown():
    """An interpreter mutes the warning of an empty map for as long as it works, and no other."""
    model = Mixed()
    before = snapshot(model, batch())["warnings"]
    model.trouble.register_forward_pre_hook(
        lambda *_: warnings.warn("of the model's own", stacklevel=1)
    )
    with pytest.warns(UserWarning, match="of the model's own"):
        interpreted(model, batch())
    assert snapshot(model, batch())["warnings"] == before


def test_the_first_search_of_a_process_leaves_the_random_state_alone():
    code = (
        "import random, numpy as np\n"
        "from xai_lab.survey import spectral_clusters\n"
        "before = random.getstate()\n"
        "spectral_clusters(np.random.default_rng(0).random((20, 4, 4)))\n"
        "assert random.getstate() == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
