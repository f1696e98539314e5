"""Gradient methods: how the score moves when the input does.

Read `gradient`, the one primitive, then `saliency`, `gradient_x_input` and `smooth_grad`, each a
line or a loop over it. `guided_backprop` comes last, as a warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from tqdm.auto import tqdm

from xai_lab.core import (
    Model,
    Target,
    check_attribution,
    check_count,
    check_inputs,
    class_scores,
    in_batches,
    per_sample,
    predict,
    run,
    taken,
    untouched,
)


def gradient(model: Model, inputs: Tensor, target: Target = None) -> Tensor:
    r"""Gradient of the score, in one pass and with nothing put in order around it.

    .. math:: g = \frac{\partial S(x)}{\partial x}

    Samples do not see each other in a network in eval mode, so the gradient of the *sum* of
    their scores holds each one's own gradient.

    Parameters
    ----------
    model : callable
        Maps ``(N, …)`` to scores ``(N, K)``, already lent out by `untouched`.
    inputs : Tensor
        x, ``(N, …)``.
    target : int, sequence of int, Tensor, callable or None
        What to explain, see `class_scores`.

    Returns
    -------
    Tensor
        g, in the inputs' shape, detached.
    """
    return score_and_gradient(model, inputs, target)[1]


def score_and_gradient(
    model: Model, inputs: Tensor, target: Target = None
) -> tuple[Tensor, Tensor]:
    """Scores S ``(N,)`` and their `gradient`, from the same pass."""
    x = inputs.detach().requires_grad_()
    # The model gets a copy: one that works in place may not write into a leaf.
    scores = class_scores(run(model, x.clone()), target)
    total = scores.sum()
    g = torch.autograd.grad(total, x, allow_unused=True)[0] if total.requires_grad else None
    if g is None:
        raise ValueError(
            "the score does not depend on the inputs: something in the model cuts the graph "
            "(detach, no_grad, argmax, a round trip through NumPy)"
        )
    return scores.detach(), g


def saliency(
    model: Model, inputs: Tensor, target: Target = None, *, batch_size: int | None = None
) -> Tensor:
    r"""Saliency: the gradient of the score with respect to each input.

    .. math:: \Phi_i = \frac{\partial S(x)}{\partial x_i}

    Parameters
    ----------
    model : callable
        Maps ``(N, …)`` to class scores ``(N, K)``; explain logits, not probabilities.
    inputs : Tensor
        x, ``(N, …)``; pictures are ``(N, C, H, W)``.
    target : int, sequence of int, Tensor, callable or None
        Class to explain: one for all, one a sample, a function of the outputs, or ``None`` for
        the predicted class.
    batch_size : int, optional
        Samples on the device at once; the result does not depend on it.

    Returns
    -------
    Tensor
        Signed gradient in the inputs' shape, in score per unit of input. The usual picture is the
        largest absolute value over the channels, which `xai_lab.plot` takes.

    Raises
    ------
    TypeError, ValueError
        If inputs, target or model do not fit; the message says what to do.

    Notes
    -----
    Cost: one forward and one backward pass a sample.

    References
    ----------
    Simonyan, Vedaldi and Zisserman, *Deep inside convolutional networks*, ICLR workshop 2014;
    Baehrens et al., *How to explain individual classification decisions*, JMLR 2010.

    Examples
    --------
    >>> import torch
    >>> S = torch.nn.Linear(2, 1, bias=False)
    >>> S.weight.data = torch.tensor([[3.0, -1.0]])
    >>> saliency(S, torch.tensor([[0.5, 0.5]]))
    tensor([[ 3., -1.]])
    """
    check_inputs(inputs, model)
    target = per_sample(target, len(inputs))
    with untouched(model, inputs):
        batches = in_batches(
            lambda i: gradient(model, inputs[i], taken(target, i)),
            range(len(inputs)),
            batch_size,
            inputs,
        )
        return check_attribution(torch.cat(list(batches)))


def gradient_x_input(
    model: Model, inputs: Tensor, target: Target = None, *, batch_size: int | None = None
) -> Tensor:
    r"""Gradient times input: what each input contributes to a *linear* score.

    .. math:: \Phi_i = x_i \, \frac{\partial S(x)}{\partial x_i}

    For S(x) = w·x + b the Φ sum to S(x) − b, and so they do for a ReLU network without biases. In
    general they do not: the sum of Φ is the first-order estimate of S(x) − S(0).

    Parameters
    ----------
    model, inputs, target, batch_size
        As in `saliency`.

    Returns
    -------
    Tensor
        Φ in the inputs' shape, signed, in units of the score. Zero means *zero in the model's own
        units*: after normalising, that is a grey pixel, not a black one.

    Raises
    ------
    TypeError, ValueError
        As in `saliency`.

    Notes
    -----
    Cost: one forward and one backward pass a sample.

    References
    ----------
    Shrikumar, Greenside and Kundaje, *Learning important features through propagating activation
    differences*, ICML 2017, which discusses it as a baseline.
    """
    return saliency(model, inputs, target, batch_size=batch_size) * inputs.detach()


@dataclass(frozen=True)
class SmoothGradStatistics:
    """What the gradients of many noisy copies have in common, and how much they differ.

    Attributes
    ----------
    mean : Tensor
        SmoothGrad, the mean of the signed gradients.
    square : Tensor
        SmoothGrad-Squared, the mean of the squared gradients.
    variance : Tensor
        VarGrad, the variance of the gradients over the draws (``ddof=1``).
    standard_error : Tensor
        Of the mean: the square root of variance / samples.
    samples : int
        Number of draws n.
    """

    mean: Tensor
    square: Tensor
    variance: Tensor
    standard_error: Tensor
    samples: int


def smooth_grad_statistics(
    model: Model,
    inputs: Tensor,
    target: Target = None,
    *,
    samples: int = 50,
    noise: float = 0.15,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = False,
) -> SmoothGradStatistics:
    r"""SmoothGrad, SmoothGrad-Squared, VarGrad and the standard error from one set of draws.

    .. math::
        g_j = \nabla S(x + \epsilon_j), \quad \epsilon_j \sim \mathcal{N}(0, \sigma^2), \quad
        \sigma = \text{noise} \cdot (\max x - \min x)

        \bar g = \tfrac1n \sum_j g_j, \qquad
        \tfrac1n \sum_j g_j^2, \qquad
        \tfrac1{n-1} \sum_j (g_j - \bar g)^2

    Parameters
    ----------
    model, inputs, target
        As in `saliency`. With ``target=None`` the class is the one predicted for the *clean*
        input, and stays it for every noisy copy.
    samples : int
        Number of draws n, at least 2.
    noise : float
        σ as a fraction of each sample's own range, 0.1 to 0.2 in the paper.
    seed : int
        Of a generator of its own. All samples of a batch see the same draws, so a sample's result
        does not depend on its neighbours; they are made on the CPU, so it does not depend on the
        device either.
    batch_size : int, optional
        Noisy copies on the device at once; the result does not depend on it.
    progress : bool
        Show a bar.

    Returns
    -------
    SmoothGradStatistics
        Four tensors in the inputs' shape.

    Raises
    ------
    TypeError, ValueError
        As in `saliency`; and for fewer than two draws or a negative noise.

    Notes
    -----
    Cost: n forward and backward passes a sample, and one forward pass if ``target`` is ``None``.
    Memory does not grow with n: the moments are updated draw by draw (Welford), which also avoids
    the cancellation in mean(g²) − mean(g)².

    References
    ----------
    Smilkov et al., *SmoothGrad: removing noise by adding noise*, 2017; Hooker et al., *A benchmark
    for interpretability methods in deep neural networks*, NeurIPS 2019 (squared); Adebayo et al.,
    *Local explanation methods for deep neural networks lack sensitivity to parameter values*, ICLR
    workshop 2018 (VarGrad); Welford, *Technometrics* 4(3), 1962.
    """
    check_inputs(inputs, model)
    check_count("samples", samples, least=2)
    mean, spread = moments(model, inputs, target, samples, noise, seed, batch_size, progress)
    variance = spread / (samples - 1)
    return SmoothGradStatistics(
        mean=mean,
        square=spread / samples + mean**2,
        variance=variance,
        standard_error=(variance / samples).sqrt(),
        samples=samples,
    )


def smooth_grad(
    model: Model,
    inputs: Tensor,
    target: Target = None,
    *,
    samples: int = 50,
    noise: float = 0.15,
    seed: int = 0,
    batch_size: int | None = None,
    progress: bool = False,
) -> Tensor:
    r"""SmoothGrad: the gradient averaged over noisy copies of the input.

    .. math:: \Phi = \frac1n \sum_{j=1}^{n} \nabla S(x + \epsilon_j), \quad
        \epsilon_j \sim \mathcal{N}(0, \sigma^2)

    The *signed* gradients are averaged; the absolute value belongs to the picture. σ is a fraction
    of each sample's range, not an absolute number.

    Parameters
    ----------
    model, inputs, target, samples, noise, seed, batch_size, progress
        As in `smooth_grad_statistics`; one draw is allowed.

    Returns
    -------
    Tensor
        Φ in the inputs' shape.

    Raises
    ------
    TypeError, ValueError
        As in `smooth_grad_statistics`.

    Notes
    -----
    Cost: n forward and backward passes a sample, and one forward pass if ``target`` is ``None``.

    References
    ----------
    Smilkov et al., *SmoothGrad: removing noise by adding noise*, 2017.
    """
    check_inputs(inputs, model)
    check_count("samples", samples)
    return moments(model, inputs, target, samples, noise, seed, batch_size, progress)[0]


def moments(
    model: Model,
    inputs: Tensor,
    target: Target,
    samples: int,
    noise: float,
    seed: int,
    batch_size: int | None,
    progress: bool,
) -> tuple[Tensor, Tensor]:
    """Mean of the noisy gradients and the sum of their squared distances to it."""
    if not 0 <= noise < float("inf"):
        raise ValueError(
            f"noise is {noise}, expected a fraction of the range, 0 or more, such as 0.15"
        )
    if target is None:
        target = predict(model, inputs, batch_size=batch_size).argmax(dim=1)
    target = per_sample(target, len(inputs))
    bar = tqdm(total=len(inputs) * samples, desc="SmoothGrad", unit="draw", disable=not progress)
    with untouched(model, inputs), bar:
        # In float32 at least: half precision loses small steps of a long sum.
        precise = torch.promote_types(inputs.dtype, torch.float32)
        mean, spread = (torch.zeros_like(inputs, dtype=precise) for _ in range(2))
        for i, x in enumerate(inputs.detach()):
            sigma = noise * (x.max() - x.min())
            own = taken(target, torch.tensor([i], device="cpu"))

            def noisy_gradient(epsilon: Tensor, x=x, sigma=sigma, own=own) -> Tensor:
                same = own.expand(len(epsilon)) if isinstance(own, Tensor) else own
                return gradient(model, x + sigma * epsilon.to(x), same)

            count = 0
            for batch in in_batches(noisy_gradient, draws(x, samples, seed), batch_size, inputs):
                for g in batch:
                    count += 1
                    delta = g - mean[i]
                    mean[i] += delta / count
                    spread[i] += delta * (g - mean[i])
                bar.update(len(batch))
    return check_attribution(mean), spread


def draws(x: Tensor, samples: int, seed: int) -> Iterator[Tensor]:
    """Standard normal noise in x's shape, one draw at a time, the same on every device."""
    generator = torch.Generator("cpu").manual_seed(seed)
    for _ in range(samples):
        yield torch.randn(x.shape, generator=generator, dtype=torch.float32, device="cpu")


def guided_backprop(
    model: Model, inputs: Tensor, target: Target = None, *, batch_size: int | None = None
) -> Tensor:
    r"""Guided backpropagation: a cautionary tale, not an explanation.

    .. math:: g^{\ell} = \mathbb{1}[z^{\ell} > 0] \; \mathbb{1}[g^{\ell+1} > 0] \; g^{\ell+1}

    On the way back through each ReLU with input z, negative gradients are dropped as well. What
    arrives is sharp, and it is drawn by the picture and the first layers: the map hardly changes
    when the weights above are replaced by random ones (Adebayo et al. 2018), and theory says why
    (Nie et al. 2018). It is here so that you can see this, and recognise it elsewhere.

    Parameters
    ----------
    model, inputs, target, batch_size
        As in `saliency`. The model needs ReLU (or ReLU6) activations.

    Returns
    -------
    Tensor
        Modified gradient in the inputs' shape; it is not the gradient of anything.

    Raises
    ------
    TypeError, ValueError
        As in `saliency`; and for a model without a ReLU.

    Notes
    -----
    Cost: one forward and one backward pass a sample.

    References
    ----------
    Springenberg et al., *Striving for simplicity: the all convolutional net*, ICLR workshop 2015;
    Adebayo et al., *Sanity checks for saliency maps*, NeurIPS 2018; Nie, Zhang and Patel, *A
    theoretical explanation for perplexing behaviors of backpropagation-based visualizations*,
    ICML 2018.
    """
    with GuidedReLU() as guide:
        guided = saliency(model, inputs, target, batch_size=batch_size)
    if not guide.met:
        raise ValueError(
            "guided backpropagation changes how gradients pass a ReLU, and this model has none "
            "(SiLU, GELU and tanh have no such rule); use `saliency`"
        )
    return guided


class GuidedReLU(TorchFunctionMode):
    """While active, only positive gradients arrive at the output of any ReLU.

    Intercepting the function finds ``nn.ReLU``, ``F.relu`` and in-place ones alike, and leaves
    no hook on any module.
    """

    relus = (F.relu, F.relu6, F.hardtanh, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_)

    def __init__(self) -> None:
        super().__init__()
        self.met = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        # ReLU6 calls hardtanh, which is a ReLU only if it ends at zero.
        ends_below = func is F.hardtanh and (kwargs or {}).get("min_val", -1.0) < 0
        if func in self.relus and not ends_below:
            self.met += 1
            if output.requires_grad:
                output.register_hook(lambda g: g.clamp(min=0))
        return output
