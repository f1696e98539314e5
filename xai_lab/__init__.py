"""XAI Lab: explain neural networks, and check the explanation.

Names load when they are first used, so that `import xai_lab` itself costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what stands here is loaded when it is first used, see below
    from xai_lab.attention import attention_maps, cls_map, flow, relevance, rollout
    from xai_lab.cam import (
        activations,
        grad_cam,
        grad_cam_plus_plus,
        hires_cam,
        layer_cam,
        score_cam,
    )
    from xai_lab.core import device, predict
    from xai_lab.data import photo
    from xai_lab.diagnosis import diagnose
    from xai_lab.edits import keep_only, occlude, paste_cue, swap_background
    from xai_lab.generation import logit_lens, prompt_attribution
    from xai_lab.gradients import (
        gradient_x_input,
        guided_backprop,
        saliency,
        smooth_grad,
        smooth_grad_statistics,
    )
    from xai_lab.integrated import completeness_gap, integrated_gradients, path_integral
    from xai_lab.interpret import ImageInterpreter, TextInterpreter
    from xai_lab.models import load
    from xai_lab.patterns import head_patterns
    from xai_lab.shortcuts import find_shortcuts
    from xai_lab.words import text_attributions

__version__ = "0.1.0"
__all__ = [
    "ImageInterpreter",
    "TextInterpreter",
    "activations",
    "attention_maps",
    "cls_map",
    "completeness_gap",
    "device",
    "diagnose",
    "find_shortcuts",
    "flow",
    "grad_cam",
    "grad_cam_plus_plus",
    "gradient_x_input",
    "guided_backprop",
    "head_patterns",
    "hires_cam",
    "integrated_gradients",
    "keep_only",
    "layer_cam",
    "load",
    "logit_lens",
    "occlude",
    "paste_cue",
    "path_integral",
    "photo",
    "predict",
    "prompt_attribution",
    "relevance",
    "rollout",
    "saliency",
    "score_cam",
    "smooth_grad",
    "smooth_grad_statistics",
    "swap_background",
    "text_attributions",
]

# Where each public name lives. Nothing is imported before it is used, so that `xai-lab --help`
# answers at once, and `xai-lab doctor` also where torch is broken.
HOME = {
    **dict.fromkeys(__all__, "gradients"),
    **dict.fromkeys((name for name in __all__ if "cam" in name), "cam"),
    **dict.fromkeys(("logit_lens", "prompt_attribution"), "generation"),
    **dict.fromkeys(("attention_maps", "cls_map", "flow", "relevance", "rollout"), "attention"),
    **{"activations": "cam", "device": "core", "load": "models", "photo": "data"},
    **dict.fromkeys(("completeness_gap", "integrated_gradients", "path_integral"), "integrated"),
    **{"predict": "core", "text_attributions": "words", "head_patterns": "patterns"},
}
HOME |= dict.fromkeys(("keep_only", "occlude", "paste_cue", "swap_background"), "edits")
HOME |= dict.fromkeys(("ImageInterpreter", "TextInterpreter"), "interpret")
HOME |= {"diagnose": "diagnosis", "find_shortcuts": "shortcuts"}
# The function `cam` is in the module of its name: `from xai_lab.cam import cam`.
LAZY = (
    "attention",
    "baselines",
    "cam",
    "checks",
    "cli",
    "core",
    "data",
    "diagnosis",
    "edits",
    "evidence",
    "faithfulness",
    "generation",
    "gradients",
    "integrated",
    "interpret",
    "layers",
    "models",
    "patterns",
    "plot",
    "shortcuts",
    "words",
)


def __getattr__(name: str) -> object:
    if name in HOME:
        value = globals()[name] = getattr(import_module(f"xai_lab.{HOME[name]}"), name)
        return value
    if name in LAZY:
        return import_module(f"xai_lab.{name}")
    raise AttributeError(f"module 'xai_lab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *LAZY})
