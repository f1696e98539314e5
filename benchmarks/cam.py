"""Class activation beside captum, pytorch-grad-cam and torch-cam, and beside plain forward passes.

`python -m benchmarks.cam MODEL METHOD CONTESTANT` prints the peak memory of one contestant, and so
does `python -m benchmarks.cam LAYER BATCH_SIZE CONTESTANT CHANNELS` for Score-CAM.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import sys
import warnings
from collections.abc import Callable
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn

import xai_lab
from benchmarks.gradients import megabytes, relative_error, row
from benchmarks.measure import Row, in_fresh_process, peak_megabytes, rounds, say
from xai_lab.layers import last_spatial_layer

MODELS = ("efficientnet-lite0", "resnet50")
PEERS = {
    "grad_cam": ("pytorch-grad-cam", "torch-cam", "captum"),
    "grad_cam_plus_plus": ("pytorch-grad-cam", "torch-cam"),
}
#: Layers of EfficientNet-Lite0 for Score-CAM: in the first all channels vary, in the last, behind
#: a ReLU, most are zero everywhere on a given photo, and need no pass.
SCORE_LAYERS = ("blocks.4", "bn2")
TORCH_CAM = {"grad_cam": "GradCAM", "grad_cam_plus_plus": "GradCAMpp"}
PYTORCH_GRAD_CAM = {"grad_cam": "GradCAM", "grad_cam_plus_plus": "GradCAMPlusPlus"}


def setting(name: str) -> tuple[nn.Module, Tensor]:
    """Model and one photo; ResNet-50 has random weights, which cost as much as others."""
    net = xai_lab.load("efficientnet-lite0")
    x = net.preprocess("cat")
    if name == "efficientnet-lite0":
        return net.model, x
    from torchvision.models import resnet50

    torch.manual_seed(0)
    return resnet50().to(x.device).eval(), x


def forward(model: nn.Module, x: Tensor, passes: int = 1, batch_size: int = 1) -> Tensor:
    """Plain forward passes, without a graph."""
    with torch.no_grad():
        for start in range(0, passes, batch_size):
            outputs = model(x.expand(min(batch_size, passes - start), *x.shape[1:]))
    return outputs


def contestants(method: str, model: nn.Module, x: Tensor) -> dict[str, Callable[[], Tensor]]:
    """Everyone's way to the map of the predicted class at one layer, each with a model of its own.

    The peers keep their hooks on the model from one call to the next, as their documentation has
    it; on a shared model each would slow the others.
    """
    import captum.attr
    import pytorch_grad_cam
    import torchcam.methods
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    layer, c = last_spatial_layer(model, x), int(forward(model, x).argmax())
    own = {name: copy.deepcopy(model) for name in ("captum", "pytorch-grad-cam", "torch-cam")}
    at = {name: copied.get_submodule(layer) for name, copied in own.items()}
    pgc = getattr(pytorch_grad_cam, PYTORCH_GRAD_CAM[method])(
        own["pytorch-grad-cam"], [at["pytorch-grad-cam"]]
    )
    extractor = getattr(torchcam.methods, TORCH_CAM[method])(own["torch-cam"], layer)
    found: dict[str, Callable[[], Tensor]] = {
        "floor": partial(forward, model, x),
        "ours": partial(getattr(xai_lab, method), model, x, c),
        "pytorch-grad-cam": lambda: torch.from_numpy(pgc(x, [ClassifierOutputTarget(c)])),
        "torch-cam": lambda: extractor(c, own["torch-cam"](x))[0],
    }
    if method == "grad_cam":
        theirs = captum.attr.LayerGradCam(own["captum"], at["captum"])
        found["captum"] = lambda: theirs.attribute(x, c, relu_attributions=True)[:, 0]
    return found


def score_contestants(
    model: nn.Module, x: Tensor, layer: str, size: int, channels: int | None = None
) -> dict[str, Callable[[], Tensor]]:
    """Score-CAM by everyone, in batches of ``size``."""
    import pytorch_grad_cam
    import torchcam.methods
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    c = int(forward(model, x).argmax())
    first, second = copy.deepcopy(model), copy.deepcopy(model)
    pgc = pytorch_grad_cam.ScoreCAM(first, [first.get_submodule(layer)])
    pgc.batch_size = size
    extractor = torchcam.methods.ScoreCAM(second, layer, batch_size=size)
    more = {"layer": layer, "batch_size": size, "channels": channels}
    return {
        "floor 8": partial(forward, model, x, varying(model, x, layer) + 1, 8),
        "floor 16": partial(forward, model, x, varying(model, x, layer) + 1, 16),
        "ours": partial(xai_lab.score_cam, model, x, c, **more),
        "pytorch-grad-cam": lambda: quietly(
            lambda: torch.from_numpy(pgc(x, [ClassifierOutputTarget(c)]))
        ),
        "torch-cam": lambda: extracted(extractor, second, x, c),
    }


def varying(model: nn.Module, x: Tensor, layer: str) -> int:
    """How many channels of a layer vary over the map, so that Score-CAM must try them."""
    return int((xai_lab.activations(model, x, layer)[layer][0].flatten(1).std(dim=1) > 0).sum())


def quietly(work: Callable[[], Tensor]) -> Tensor:
    """Run without the peer's progress bar."""
    with contextlib.redirect_stderr(io.StringIO()):
        return work()


def extracted(
    extractor: Callable[..., list[Tensor]], model: nn.Module, x: Tensor, c: int
) -> Tensor:
    """Map that torch-cam makes after a forward pass without a graph."""
    with torch.no_grad():
        return extractor(c, model(x))[0]


def difference(theirs: Tensor, ours: Tensor) -> str:
    """How far apart two maps are once they are as large and as high as each other."""
    if theirs.shape != ours.shape:
        theirs = nn.functional.interpolate(
            theirs[:, None].float(), ours.shape[1:], mode="bilinear"
        )[:, 0]
    a, b = (m - m.amin() for m in (theirs.detach().to(ours), ours))
    return f"maps differ by {relative_error(a / a.amax(), b / b.amax()):.0e}"


def run(count: int, memory: bool = True) -> list[Row]:
    """Rows of the table."""
    warnings.filterwarnings("ignore", module="captum")
    rows = []
    for name in MODELS:
        model, x = setting(name)
        for method, peers in PEERS.items():
            say(f"{method} on {name}, {3 * count} rounds")
            works = contestants(method, model, x)
            times, ours = rounds(works, 3 * count), works["ours"]()
            for peer in peers:
                alike = difference(works[peer](), ours)
                rows.append(row(f"{method}, {name}", peer, peer, times, 1, alike))
                if memory:
                    add_memory(rows[-1], name, method, peer)
    model, x = setting(MODELS[0])
    for layer, size in ((SCORE_LAYERS[0], 8), (SCORE_LAYERS[0], 16), (SCORE_LAYERS[1], 16)):
        works, passes = score_contestants(model, x, layer, size), varying(model, x, layer) + 1
        turns = count if layer == SCORE_LAYERS[0] else max(1, count // 2)  # a minute a turn
        say(f"score_cam at {layer}, batches of {size}, {turns} rounds")
        times, ours = rounds(works, turns), works["ours"]()
        # The floor is what the passes cost in the better of the two batch sizes.
        times["floor"] = min(times["floor 8"], times["floor 16"], key=median)
        for peer in ("pytorch-grad-cam", "torch-cam"):
            label = f"score_cam, {layer}, batches of {size}"
            rows.append(row(label, peer, peer, times, passes, difference(works[peer](), ours)))
            if memory:
                add_memory(rows[-1], layer, size, peer)
        if memory and layer == SCORE_LAYERS[1]:
            few = in_fresh_process("benchmarks.cam", layer, size, "ours", 32)
            rows[-2].memory += f"; ours with 32 channels: {megabytes(few)}"
    return rows


def add_memory(line: Row, first: str, second: str | int, peer: str) -> None:
    """Peak memory of both, in processes of their own."""
    say(f"memory of {line.method}, {peer}")
    both = [in_fresh_process("benchmarks.cam", first, second, who) for who in ("ours", peer)]
    line.memory = " / ".join(map(megabytes, both))


def main() -> None:
    """Print the peak memory of one contestant."""
    first, second, who, *channels = sys.argv[1:]
    warnings.simplefilter("ignore")
    if first in MODELS:
        works = contestants(second, *setting(first))
    else:
        works = score_contestants(*setting(MODELS[0]), first, int(second), *map(int, channels))
    works[who]()
    print(json.dumps(peak_megabytes()))


if __name__ == "__main__":
    main()
