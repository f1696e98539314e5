"""Accuracy in groups: a mean over all pictures can hide that one kind of them is always wrong."""

from __future__ import annotations

import torch
from torch import Tensor


def group_accuracy(answers: Tensor, labels: Tensor, attributes: Tensor) -> Tensor:
    r"""Accuracy of each class with each value of an attribute, such as the background.

    .. math:: A_{cg} = \frac{|\{i : \hat y_i = y_i = c,\ a_i = g\}|}{|\{i : y_i = c,\ a_i = g\}|}

    Parameters
    ----------
    answers : Tensor
        :math:`\hat y`, classes ``(N,)`` or scores ``(N, K)``, whose largest is the answer.
    labels : Tensor
        y, the true classes, ``(N,)``.
    attributes : Tensor
        a, integers from 0 ``(N,)``: what should not matter.

    Returns
    -------
    Tensor
        ``(classes, values)``; NaN for a group without a picture.

    Raises
    ------
    ValueError
        If the three differ in length, or are empty.
    """
    said = answers.argmax(dim=1) if answers.ndim == 2 else answers
    said, y, a = (one.detach().cpu() for one in (said, labels, attributes))
    if not len(said) == len(y) == len(a) or not len(y):
        raise ValueError(
            f"there are {len(said)} answers, {len(y)} labels and {len(a)} attributes, expected as "
            "many of each, and at least one"
        )
    shape = (int(y.max()) + 1, int(a.max()) + 1)
    group = y * shape[1] + a
    count = torch.bincount(group, minlength=shape[0] * shape[1])
    right = torch.bincount(group[said == y], minlength=shape[0] * shape[1])
    return (right / count).reshape(shape)


def worst_group_accuracy(answers: Tensor, labels: Tensor, attributes: Tensor) -> float:
    """Lowest `group_accuracy` of all groups that hold a picture.

    Parameters
    ----------
    answers, labels, attributes
        As in `group_accuracy`.

    Returns
    -------
    float
        A group of few pictures is worst by accident as well: look at the counts, too.

    References
    ----------
    Sagawa et al., *Distributionally robust neural networks for group shifts*, ICLR 2020.
    """
    found = group_accuracy(answers, labels, attributes)
    return found[~found.isnan()].min().item()
