# ruff: noqa: D103 (what is said about a wrong function stands beside it in the catalogue)
"""Exercises of chapter 3 about where a path starts: baselines made of pixels, and a blind one.

Each exercise is a block: the right function under its exercise's name, the cases, the mistakes,
the hints. `EXERCISES` at the end is what `check` finds.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from xai_lab.checks.exercise import Case, Exercise, catalogue
from xai_lab.checks.integrated import integrated_gradients
from xai_lab.checks.small import WHERE, classes, on_device

# ------------------------------------------------------------- 1. baselines made of pixels

Made = Callable[[Tensor], Tensor]


def blurred(pixels: Tensor) -> Tensor:
    """Pictures under a Gaussian of a tenth of the shorter side."""
    side = min(pixels.shape[2:])
    return gaussian_blur(pixels, 2 * int(0.3 * side) + 1, side / 10)


def mean_colour(pixels: Tensor) -> Tensor:
    return pixels.mean((2, 3), keepdim=True).expand_as(pixels)


def coloured(numbers: Tensor) -> Tensor:
    """One number a channel, (C,), in the shape that meets pictures."""
    return numbers[:, None, None]


RIGHT: dict[str, Made] = {
    "black": torch.zeros_like, "white": torch.ones_like, "mean": mean_colour, "blur": blurred,
}  # fmt: skip
Scale = Callable[[Tensor, Tensor, Tensor], Tensor]


def normalised(p: Tensor, m: Tensor, s: Tensor) -> Tensor:
    return (p - m) / s


def as_pixels(x: Tensor, m: Tensor, s: Tensor) -> Tensor:
    return x * s + m


def starting(into: Scale = as_pixels, back: Scale = normalised, **other: Made) -> Callable:
    """Baseline by name with another scale, or with other pictures for some names."""

    def function(name, x, mean, std):
        m, s = coloured(mean), coloured(std)
        return back((RIGHT | other)[name](into(x, m, s)), m, s)

    return function


def pixel_baseline(name: str, x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Picture of pixels in [0, 1] by name, then normalised as x is."""
    return starting()(name, x, mean, std)


def of_normalised(**made: Made) -> Callable:
    """Baseline by name, some of them made of x as it is and not of its pixels."""

    def function(name, x, mean, std):
        return made[name](x) if name in made else pixel_baseline(name, x, mean, std)

    return function


def some(names: tuple[str, ...], wrong: Callable) -> Callable:
    """Baseline that is wrong for some names."""

    def function(name, x, mean, std):
        return (wrong if name in names else pixel_baseline)(name, x, mean, std)

    return function


def along_columns(name, x, mean, std):
    pixels = RIGHT[name](as_pixels(x, coloured(mean), coloured(std)))
    return (pixels - mean) / std


def one_colour(name, x, mean, std):
    made = pixel_baseline(name, x, mean, std)
    return made if name == "blur" else made[:, :, :1, :1]


def blur_of(side: Callable[[Tensor], float], width: float = 0.1) -> Made:
    """Blur by another length than the shorter side."""

    def made(pixels: Tensor) -> Tensor:
        k = 2 * int(0.3 * min(pixels.shape[2:])) + 1
        return gaussian_blur(pixels, k, width * side(pixels))

    return made


def photo_of(*shape: int, seed: int) -> dict[str, Any]:
    """Normalised picture, and how it was normalised."""
    pixels = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    mean, std = (
        torch.tensor([0.48, 0.3, 0.6])[: shape[1]],
        torch.tensor([0.2, 0.4, 0.25])[: shape[1]],
    )
    return dict(x=normalised(pixels, coloured(mean), coloured(std)), mean=mean, std=std)


def shorter(pixels: Tensor) -> float:
    return min(pixels.shape[2:])


NOT_ZERO = (
    "In a normalised space {0} is not {1}. A pixel p becomes (p − mean)/std, so {0} is "
    "({1} − mean)/std, another number in each channel."
)
GREY = (
    'For "mean" you averaged over {}. Each picture has a mean colour of its own, and a colour '
    "has three numbers: average over rows and columns, dimensions 2 and 3."
)
PIXEL_BASELINE = Exercise(
    reference=pixel_baseline,
    cases=(
        Case("\"black\" and pictures three columns wide",
             lambda: dict(name="black", **photo_of(2, 3, 4, 3, seed=1)),
             alone="A black pixel is 0 in all three channels; normalised, it is "
             "(0 − mean)/std."),
        Case("\"white\"", lambda: dict(name="white", **photo_of(2, 3, 4, 5, seed=2)),
             alone="A white pixel is 1 in all three channels; normalised, it is "
             "(1 − mean)/std."),
        Case("\"mean\"", lambda: dict(name="mean", **photo_of(2, 3, 5, 4, seed=3)),
             alone="Each picture has a mean colour of its own, three numbers: "
             "`mean(dim=(2, 3), keepdim=True)` of its pixels, in every place (`expand_as`)."),
        Case("\"blur\"", lambda: dict(name="blur", **photo_of(2, 3, 24, 30, seed=4)),
             alone="The blur has another kernel or another strength: with side = min(H, W) it is "
             "`gaussian_blur(p, 2 * int(0.3 * side) + 1, side / 10)`."),
        Case(f"\"black\" and a batch of one{WHERE}",
             lambda: on_device(dict(name="black", **photo_of(1, 3, 5, 6, seed=5))),
             alone="A black pixel is 0 in all three channels; normalised, it is "
             "(0 − mean)/std."),
        Case("\"black\" and grey pictures, of one channel",
             lambda: dict(name="black", **photo_of(2, 1, 4, 6, seed=6)),
             alone="Pictures may have any number of channels: write no 3, and let `mean` and `std` "
             "say how many, `mean[:, None, None]`."),
    ),
    mistakes=catalogue(
        in_normalised_space=(of_normalised(black=torch.zeros_like, white=torch.ones_like),
            NOT_ZERO.format("black", "0") + " (And white is not 1.)"),
        zero_is_black=(of_normalised(black=torch.zeros_like),
            NOT_ZERO.format("black", "0") + " Zero is the colour `mean`, a grey."),
        one_is_white=(of_normalised(white=torch.ones_like), NOT_ZERO.format("white", "1")),
        minus_one_is_black=(of_normalised(black=lambda x: -torch.ones_like(x),
                                          white=torch.ones_like),
            "−1 and 1 are black and white where mean and std are ½, and nowhere else: "
            "(0 − mean)/std and (1 − mean)/std."),
        minus_one_only=(of_normalised(black=lambda x: -torch.ones_like(x)),
            "−1 is black where mean and std are ½, and nowhere else: (0 − mean)/std."),
        not_normalised=(starting(back=lambda p, m, s: p),
            "The pixels are right, and they are still pixels. Normalise them as the network wants "
            "them: (p − mean)/std."),
        flat_not_normalised=(some(("black", "white", "mean"), starting(back=lambda p, m, s: p)),
            "Black, white and the mean colour are still pixels. Normalise them as the network "
            "wants them: (p − mean)/std."),
        normalised_twice=(starting(into=lambda x, m, s: x),
            "You took x for pixels, and normalised what was normalised already. Go back first: "
            "x · std + mean; the mean colour and the blur are made of that."),
        normalised_backwards=(starting(back=as_pixels),
            "p · std + mean leads from normalised numbers *back* to pixels. To normalise is "
            "(p − mean)/std."),
        into_backwards=(starting(into=normalised),
            "You normalised x once more where it should become pixels again: x · std + mean."),
        exchanged=(starting(back=lambda p, m, s: (p - s) / m, into=lambda x, m, s: x * m + s),
            "mean and std are exchanged: (p − mean)/std."),
        exchanged_back=(starting(back=lambda p, m, s: (p - s) / m),
            "mean and std are exchanged: (p − mean)/std."),
        not_subtracted=(starting(back=lambda p, m, s: p / s),
            "The mean was not subtracted: (p − mean)/std."),
        not_divided=(starting(back=lambda p, m, s: p - m),
            "std is missing: (p − mean)/std."),
        multiplied=(starting(back=lambda p, m, s: (p - m) * s),
            "You multiplied by std; to normalise is to divide: (p − mean)/std."),
        brackets=(starting(back=lambda p, m, s: p - m / s),
            "There are brackets missing: (p − mean)/std is not p − mean/std."),
        wrong_sign=(starting(back=lambda p, m, s: (m - p) / s),
            "The sign is turned round: (p − mean)/std."),
        added=(starting(back=lambda p, m, s: (p + m) / s),
            "The mean was added; to normalise is to subtract it: (p − mean)/std."),
        variance=(starting(back=lambda p, m, s: (p - m) / s**2),
            "You divided by the square of std: (p − mean)/std."),
        along_columns=(along_columns,
            "`pixels - mean` lines (C,) up with the *last* dimension, the columns, and with three "
            "columns that goes unnoticed. One number a channel is `mean[:, None, None]`."),
        first_channel=(starting(back=lambda p, m, s: (p - m[0]) / s[0]),
            "Every channel was normalised as the first one is. Each has a mean and a std of its "
            "own: `mean[:, None, None]`."),
        mean_of_means=(starting(back=lambda p, m, s: (p - m.mean()) / s.mean()),
            "You normalised all channels alike, by the mean of `mean`. Each has its own: "
            "`mean[:, None, None]`."),
        black_and_white=(starting(black=torch.ones_like, white=torch.zeros_like),
            "Black and white are exchanged: a black pixel is 0, a white one is 1."),
        two_hundred=(starting(white=lambda p: torch.full_like(p, 255.0)),
            "Your white is 255. The pixels here lie in [0, 1], where white is 1."),
        darkest=(of_normalised(black=lambda x: x.min().expand_as(x),
                               white=lambda x: x.max().expand_as(x)),
            "You took the darkest and the brightest value of the pictures. Black is a colour, "
            "whatever is in the picture: the pixel 0."),
        darkest_only=(of_normalised(black=lambda x: x.min().expand_as(x)),
            "You took the darkest value of the pictures. Black is a colour, whatever is in the "
            "picture: the pixel 0."),
        darkest_of_each=(of_normalised(
                black=lambda x: x.amin((1, 2, 3), keepdim=True).expand_as(x),
                white=lambda x: x.amax((1, 2, 3), keepdim=True).expand_as(x)),
            "You took each picture's darkest and brightest value. Black is a colour, whatever is "
            "in the picture: the pixel 0."),
        darkest_of_each_channel=(of_normalised(
                black=lambda x: x.amin((2, 3), keepdim=True).expand_as(x),
                white=lambda x: x.amax((2, 3), keepdim=True).expand_as(x)),
            "You took each channel's darkest and brightest value. Black is a colour, whatever is "
            "in the picture: the pixel 0."),
        black_pixel_below_zero=(starting(black=lambda p: -torch.ones_like(p)),
            "Your black *pixel* is −1. Pixels lie in [0, 1], where black is 0; −1 is what some "
            "networks make of it."),
        black_is_grey=(starting(black=lambda p: torch.full_like(p, 0.5)),
            "Your black pixel is ½, a middle grey. Black is 0."),
        always_black=(lambda name, x, mean, std: pixel_baseline("black", x, mean, std),
            "You return black whatever `name` says."),
        of_the_pictures=(starting(back=lambda p, m, s: (p - p.mean()) / p.std().clamp(min=1e-8)),
            "You normalised the baseline by its own mean and spread. The network wants every "
            "picture normalised in the same way, by `mean` and `std`."),
        imagenet=(lambda name, x, mean, std: pixel_baseline(
                name, x, torch.tensor([0.485, 0.456, 0.406]).to(x),
                torch.tensor([0.229, 0.224, 0.225]).to(x)),
            "You used numbers of your own for mean and std (ImageNet's). Each network has its own; "
            "use the arguments."),
        in_255=(starting(into=lambda x, m, s: 255 * (x * s + m)),
            "You multiplied the pixels by 255. They lie in [0, 1] here: x · std + mean."),
        grey=(starting(mean=lambda p: p.mean((1, 2, 3), keepdim=True).expand_as(p)),
            GREY.format("the channels too, which leaves a grey")),
        grey_of_normalised=(of_normalised(
                mean=lambda x: x.mean((1, 2, 3), keepdim=True).expand_as(x)),
            GREY.format("the channels too, in the normalised space, where they have no common "
                        "scale")),
        grey_of_all=(starting(mean=lambda p: p.mean().expand_as(p)), GREY.format("everything")),
        grey_of_all_normalised=(of_normalised(mean=lambda x: x.mean().expand_as(x)),
            GREY.format("everything, in the normalised space")),
        of_the_batch=(starting(mean=lambda p: p.mean((0, 2, 3), keepdim=True).expand_as(p)),
            GREY.format("the batch too")),
        of_the_channels=(starting(mean=lambda p: p.mean(1, keepdim=True).expand_as(p)),
            GREY.format("the channels, which leaves a black-and-white photo")),
        of_the_columns=(starting(mean=lambda p: p.mean(3, keepdim=True).expand_as(p)),
            GREY.format("the columns alone")),
        of_the_rows=(starting(mean=lambda p: p.mean(2, keepdim=True).expand_as(p)),
            GREY.format("the rows alone")),
        pictures_of_the_batch=(starting(mean=lambda p: p.mean(0, keepdim=True).expand_as(p)),
            GREY.format("the pictures of the batch")),
        data_set_mean=(of_normalised(mean=torch.zeros_like),
            "For \"mean\" you returned zeros: that is the mean of all the pictures on which the "
            "network was trained, `mean`. The mean colour of this picture is asked for."),
        half_grey=(starting(mean=lambda p: torch.full_like(p, 0.5)),
            "For \"mean\" you took middle grey, ½. The mean colour of the picture is asked for."),
        median=(starting(mean=lambda p: p.flatten(2).median(2).values[..., None, None].expand_as(
                p)),
            "For \"mean\" you took the median; it is the mean over rows and columns."),
        blurred_not_normalised=(some(("blur",), starting(back=lambda p, m, s: p)),
            "The blurred picture is still pixels: normalise it, (p − mean)/std."),
        blurred_twice_normalised=(some(("blur",), starting(into=lambda x, m, s: x)),
            "You blurred x itself and normalised the result, which was normalised already. Blur "
            "pixels, x · std + mean."),
        mean_twice_normalised=(some(("mean",), starting(into=lambda x, m, s: x)),
            "You averaged x itself and normalised the result, which was normalised already. "
            "Average pixels, x · std + mean."),
        unblurred=(starting(blur=lambda p: p),
            "For \"blur\" the picture comes back as it is. `gaussian_blur` returns a new one."),
        **{f"blurred_by_{name}": (starting(blur=blur_of(side, width)),
            "The blur has another strength: σ is a tenth of the shorter side of the picture, "
            f"min(H, W)/10{more}.")
           for name, side, width, more in (
               ("the_longer_side", lambda p: max(p.shape[2:]), 0.1, ", and not the longer one's"),
               ("a_fifth", shorter, 0.2, ""), ("a_twentieth", shorter, 0.05, ""),
               ("three_tenths", shorter, 0.3, " (three tenths are the reach of its kernel)"),
               ("ten", lambda p: 10.0, 1.0, ""), ("five", lambda p: 5.0, 1.0, ""),
               ("one", lambda p: 1.0, 1.0, ""))},
        pooled=(starting(blur=lambda p: F.avg_pool2d(p, 5, 1, 2)),
            "You averaged over squares. The blur is a Gaussian: "
            "`gaussian_blur(pixels, kernel_size, sigma)`."),
        one_colour=(one_colour,
            "One colour, of size 1 × 1, came back. A baseline has the shape of x: `expand_as(x)`, "
            "or `torch.zeros_like(x)` to begin with."),
        first_picture=(lambda name, x, mean, std: pixel_baseline(name, x, mean, std)[:1],
            "Only the first picture's baseline came back. Keep the batch, in the shape of x."),
        squeezed=(lambda name, x, mean, std: pixel_baseline(name, x, mean, std)[0],
            "The batch dimension is missing: a baseline has the shape of x."),
    ),
    hints=(
        "What does the network get to see for a black pixel, whose value is 0? Which way did x "
        "come, and which way back?",
        "Pixels are `x * std + mean`, with `std[:, None, None]`. Make the picture of pixels in "
        "[0, 1], then normalise it: (p − mean)/std.",
        "`m, s = mean[:, None, None], std[:, None, None]`, `pixels = x * s + m`; make `p` by name: "
        "`torch.zeros_like(pixels)`, `torch.ones_like(pixels)`, `pixels.mean((2, 3), True)"
        ".expand_as(pixels)`, or the blur; then `(p - m) / s`.",
    ),
)  # fmt: skip


# ------------------------------------------------------------------------- 2. a blind case


def blind_case(where: Tensor, shade: float) -> tuple[Tensor, Tensor]:
    """Draw a spot of a shade on a ground that is not, and a baseline that is all of that shade."""
    x = torch.where(where, shade, 0.0 if shade > 0.5 else 1.0)[None, None]
    return x, torch.full_like(x, shade)


def spot_detector(where: Tensor, shade: float) -> Callable[[Tensor], Tensor]:
    """Network whose score says how much more the spot has the shade than its surroundings do."""

    def scores(x: Tensor) -> Tensor:
        off = (x - shade).abs()[:, 0]
        inside, outside = off[:, where].mean(1), off[:, ~where].mean(1)
        return torch.stack([4 * (outside - inside), torch.zeros_like(inside)], dim=1)

    return scores


def spot(*box: int, size: int, shade: float) -> dict[str, Any]:
    """Arguments of `blind_case`: rows and columns of the spot, and its shade."""
    where = torch.zeros(size, size, dtype=torch.bool)
    where[box[0] : box[1], box[2] : box[3]] = True
    return dict(where=where, shade=shade)


def verdict(result: object, arguments: dict[str, Any]) -> dict[str, float]:
    """Say what a case shows: 1 for what it should, 0 or −1 for what it does not."""
    said = shown(result, arguments)
    if said["shape"] == 1 and said != GOOD and shown(result[::-1], arguments) == GOOD:  # type: ignore[index]
        return GOOD | {"order": 0.0}
    return said


def shown(result: object, arguments: dict[str, Any]) -> dict[str, float]:
    """Say what a picture and its baseline show, in this order."""
    where, shade = arguments["where"], arguments["shade"]
    one = (1, 1, *where.shape)
    if not (isinstance(result, tuple | list) and len(result) == 2):
        return GOOD | {"shape": 0.0}
    x, b = result
    if not all(isinstance(t, Tensor) for t in (x, b)):
        return GOOD | {"shape": 0.0}
    if (tuple(x.shape), tuple(b.shape)) != (one, one):
        return GOOD | {"shape": -1.0 if x.ndim == b.ndim == 4 else 0.0}
    if not (x.isfinite().all() and b.isfinite().all()):
        return GOOD | {"range": 0.0}
    x, b = x.detach().float(), b.detach().float()
    model, spot_at = spot_detector(where.to(x.device), shade), where.to(x.device)
    score, start = (model(t)[0, 0].item() for t in (x, b))
    phi = integrated_gradients(model, x, b, classes(0).to(x.device), 64)[0, 0]  # type: ignore[arg-type]
    hidden = torch.where(spot_at, x[0, 0][~spot_at].mean(), x[0, 0])[None, None]
    lost = score - model(hidden)[0, 0].item()
    same = torch.equal(x, b)
    said = GOOD | {
        "range": float(min(x.min(), b.min()) >= 0 and max(x.max(), b.max()) <= 1),
        "seen": 1.0 if score >= 1 else -1.0 if score < -0.5 else 0.0,
        "blind": 1.0 if phi[spot_at].abs().sum() <= 0.01 * max(phi.abs().sum().item(), 0.1)
        else -1.0 if (b[0, 0][spot_at] == 0).all() else 0.0,
        "rises": -1.0 if same else float(score - start >= 0.2),
        "matters": float(lost >= 0.5),
    }  # fmt: skip
    # What follows from a picture in which there is nothing to see is not worth saying as well.
    return said if said["seen"] == 1 else GOOD | {k: said[k] for k in ("range", "seen")}


GOOD = dict.fromkeys(("shape", "order", "range", "seen", "blind", "rises", "matters"), 1.0)


def graded(below: str, zero: str) -> Callable[[Tensor, Tensor], str]:
    """Sentence for −1, and one for 0."""
    return lambda got, _want: below if got < 0 else zero


BLIND_SAYS: dict[str, str | Callable[[Tensor, Tensor], str]] = {
    "shape": graded(
        "Your pictures have a size of their own, such as that of the example. Here `where` says "
        "how large they are and where the spot lies, and it changes from case to case: "
        "`torch.where(where, …, …)` has its size; so has `torch.full((1, 1, *where.shape), …)`.",
        "Two tensors are wanted, x and the baseline, both of the shape (1, 1, H, W), and (H, W) "
        "is that of `where`: `[None, None]` puts two dimensions in front.",
    ),
    "range": "Both are pictures: their values lie between 0 and 1.",
    "blind": graded(
        "Your spot is seen by Integrated Gradients: there x differs from the baseline, which is "
        "black. Which baseline makes x − x′ zero in the spot, when its shade is `shade`?",
        "Your spot is seen by Integrated Gradients: there x differs from the baseline. Φ contains "
        "x − x′; make that zero in the spot.",
    ),
    "rises": graded(
        "x and its baseline are the same picture, so nothing is explained and nothing can be "
        "missed. They must be equal in the spot and different elsewhere.",
        "The detector gives your baseline the same score as x: there is a spot in it too, and "
        "nothing to explain. Let no spot be left in the baseline: the *rest* of it has to come "
        "nearer to the shade.",
    ),
    "matters": "Hiding the spot hardly changes the score, so these pixels do not matter, and that "
    "they get nothing is right. Make a picture whose score hangs on the spot.",
}
IN_THE_WRONG_ORDER = (
    "When the shade is {:g}, your two pictures are a right case in the wrong order: x comes first, "
    "then the baseline."
)
UNSEEN = (
    "The detector sees the *opposite* of a spot in your x: the surroundings have the shade and "
    "the spot does not. Fill the spot, `where`, with `shade`, and the rest with another one.",
    "The detector does not see a spot in your x when the shade is {shade:g}: its score is below "
    "1. The spot (`where`) must have that shade, and the rest a shade far from it, for *every* "
    "shade that may be asked for: which one does your ground have when it is {shade:g}?",
)


def of_the_shade(shade: float) -> Callable[[Tensor, Tensor], str]:
    """Sentence about a spot that is not seen, with the shade that was asked for."""
    below, zero = UNSEEN
    return graded(below, zero.format(shade=shade))


BLIND_CASE = Exercise(
    reference=blind_case,
    cases=tuple(
        Case(f"a spot of the shade {shade:g}",
             partial(spot, *box, size=size, shade=shade),
             observe=verdict, says=BLIND_SAYS | {"order": IN_THE_WRONG_ORDER.format(shade),
                                          "seen": of_the_shade(shade)})
        for shade, box, size in [(0.0, (2, 4, 3, 6), 8), (1.0, (1, 3, 1, 3), 6),
                                 (0.4, (4, 7, 2, 4), 9)]
    ),
    mistakes=(),
    hints=(
        "Φ = (x − x′) · …: what makes it zero for a pixel, whatever the gradient?",
        "The picture has a spot of the shade on a ground of another one. Which baseline of one "
        "single shade is equal to x in the spot, and has no spot itself?",
        "`x = torch.where(where, shade, 1 - round(shade))[None, None]`, as floats, and a baseline "
        "that is `shade` everywhere: `torch.full_like(x, shade)`.",
    ),
)  # fmt: skip


EXERCISES = (PIXEL_BASELINE, BLIND_CASE)
