"""The ground floor, piece by piece."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from xai_lab import core, device, predict


def tiny():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 5, 3),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 3),
    ).eval()


# --- targets ---------------------------------------------------------------------------------


def test_class_scores_picks_one_score_a_sample():
    y = torch.tensor([[1.0, 5.0], [7.0, 2.0]])
    assert core.class_scores(y).tolist() == [5, 7]
    assert core.class_scores(y, 0).tolist() == [1, 7]
    assert core.class_scores(y, [1, 0]).tolist() == [5, 7]
    assert core.class_scores(y, np.array([0, 1])).tolist() == [1, 2]
    assert core.class_scores(y, np.int64(1)).tolist() == [5, 2]
    assert core.class_scores(y, lambda y: y.sum(1)).tolist() == [6, 9]


def test_per_sample_repeats_one_class_and_keeps_functions():
    assert core.per_sample(4, 3).tolist() == [4, 4, 4]
    assert core.per_sample(torch.tensor([1, 2], dtype=torch.uint8), 2).tolist() == [1, 2]
    assert core.per_sample(None, 3) is None
    assert core.per_sample(abs, 3) is abs


# --- predict ---------------------------------------------------------------------------------


def test_predict_is_the_model_in_eval_mode_without_a_graph():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout()).train()
    x = torch.randn(5, 2)
    scores = predict(model, x, batch_size=2)
    assert model.training
    torch.testing.assert_close(scores, model.eval()(x).detach())
    assert not scores.requires_grad


def test_predict_takes_any_callable_and_logits():
    x = torch.randn(20, 2)
    torch.testing.assert_close(predict(lambda x: SimpleNamespace(logits=2 * x), x), 2 * x)


# --- batches ---------------------------------------------------------------------------------


class Memory:
    """Doubles its items, and has room for so many of them."""

    def __init__(self, room, error=torch.OutOfMemoryError):
        self.room, self.error, self.sizes = room, error, []

    def __call__(self, stack):
        self.sizes.append(len(stack))
        if len(stack) > self.room:
            raise self.error("CUDA out of memory")
        return 2 * stack


def collect(function, items, batch_size):
    return torch.cat(list(core.in_batches(function, items, batch_size, torch.zeros(1)))).tolist()


@pytest.mark.parametrize("room", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 20])
def test_halving_loses_and_repeats_nothing(room, count):
    assert collect(Memory(room), range(count), 8) == [2 * i for i in range(count)]


def test_the_smaller_size_is_remembered():
    memory = Memory(3)
    collect(memory, range(10), 8)
    assert memory.sizes == [8, 4, 2, 2, 2, 2, 2]


def test_one_item_that_does_not_fit_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        collect(Memory(0), range(4), 4)


def test_other_errors_are_not_taken_for_full_memory():
    memory = Memory(2, RuntimeError)
    memory.error = lambda _text: RuntimeError("shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="multiplied"):
        collect(memory, range(4), 4)
    assert memory.sizes == [4]


@pytest.mark.parametrize(
    "text",
    [
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 40 bytes",
        "DefaultCPUAllocator: not enough memory: you tried to allocate 40 bytes",
        "MPS backend out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    ],
)
def test_every_device_says_it_in_its_own_words(text):
    assert core.out_of_memory(RuntimeError(text))


def test_a_real_allocation_that_fails_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert core.out_of_memory(caught.value)


def test_items_are_drawn_no_further_ahead_than_one_batch():
    drawn = []

    def items():
        for i in range(100):
            drawn.append(i)
            yield torch.tensor(float(i))

    batches = core.in_batches(lambda s: s, items(), 4, torch.zeros(1))
    next(batches)
    assert len(drawn) == 4


def test_the_default_is_eight_on_a_cpu():
    memory = Memory(1000)
    collect(memory, range(20), None)
    assert memory.sizes == [8, 8, 4]


# --- device ----------------------------------------------------------------------------------


def test_the_environment_chooses_the_device(monkeypatch):
    monkeypatch.setenv("XAI_LAB_DEVICE", " cpu ")
    assert device() == torch.device("cpu")


@pytest.mark.parametrize("wanted", ["banana", "cuda:99", "meta"])
def test_a_device_that_is_not_there_is_said(monkeypatch, wanted):
    monkeypatch.setenv("XAI_LAB_DEVICE", wanted)
    with pytest.raises(ValueError, match=rf"XAI_LAB_DEVICE={wanted} cannot be used.*cpu"):
        device()


def test_without_a_wish_it_is_the_gpu_or_the_cpu(monkeypatch):
    monkeypatch.delenv("XAI_LAB_DEVICE", raising=False)
    expected = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    assert device().type == (expected.type if expected else "cpu")
