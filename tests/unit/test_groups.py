"""Accuracy in groups against counting by hand."""

import pytest
import torch

from xai_lab.groups import group_accuracy, worst_group_accuracy

LABELS = torch.tensor([0, 0, 0, 1, 1, 1])
GROUNDS = torch.tensor([0, 0, 1, 2, 2, 2])
SAID = torch.tensor([0, 1, 1, 1, 1, 0])


def test_each_class_with_each_ground_by_hand():
    found = group_accuracy(SAID, LABELS, GROUNDS)
    expected = torch.tensor([[0.5, 0.0, torch.nan], [torch.nan, torch.nan, 2 / 3]])
    torch.testing.assert_close(found, expected, equal_nan=True)


def test_scores_count_by_their_largest():
    scores = torch.nn.functional.one_hot(SAID, 4).float()
    torch.testing.assert_close(
        group_accuracy(scores, LABELS, GROUNDS),
        group_accuracy(SAID, LABELS, GROUNDS),
        equal_nan=True,
    )


def test_the_worst_group_is_one_that_exists():
    assert worst_group_accuracy(SAID, LABELS, GROUNDS) == 0.0
    right = worst_group_accuracy(LABELS, LABELS, GROUNDS)
    assert right == 1.0


def test_the_order_of_the_pictures_does_not_matter():
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    found = group_accuracy(SAID[order], LABELS[order], GROUNDS[order])
    torch.testing.assert_close(found, group_accuracy(SAID, LABELS, GROUNDS), equal_nan=True)


@pytest.mark.parametrize("part", [slice(0), slice(4)])
def test_lengths_that_differ_or_nothing_at_all_are_refused(part):
    with pytest.raises(ValueError, match=r"answers, 6 labels" if part.stop else "0 answers, 0"):
        group_accuracy(SAID[part], LABELS if part.stop else LABELS[part], GROUNDS[part])
