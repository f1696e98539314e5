"""A small model of each kind: the default layer gives a map, in its place, and leaves no trace.

`make architectures` asks hundreds of them; its table is in the book.
"""

import pytest
import torch

from benchmarks import architectures

pytestmark = pytest.mark.filterwarnings("ignore")  # each library warns of its own affairs

SAMPLE = {
    "torchvision/mobilenet_v3_small": "features",
    "torchvision/squeezenet1_1": "classifier.2",
    "torchvision/shufflenet_v2_x0_5": "conv5",
    "torchvision/regnet_y_400mf": "trunk_output",
    "timm/test_resnet": "layer4",
    "timm/test_vit": "blocks.5.norm1",
    "timm/deit_tiny_distilled_patch16_224": "blocks.11.norm1",
    "timm/vit_pwee_patch16_reg1_gap_256": None,
    "timm/resmlp_12_224": "norm",
    "timm/efficientvit_m0": None,
    "timm/levit_128s": None,
    "timm/pvt_v2_b0": None,
    "timm/mobilevit_xxs": "final_conv",
    "timm/swin_tiny_patch4_window7_224": "norm",
}


@pytest.mark.parametrize("name", SAMPLE)
def test_the_default_layer_gives_a_map_in_its_place(name):
    row = architectures.ask(*name.split("/"), contestants=("ours",))
    assert "skipped" not in row, row
    assert row["ours"]["problem"] == ""
    if SAMPLE[name] is not None:
        assert row["ours"]["layer"] == SAMPLE[name]


def result(maps, A, B):
    return {"maps": maps, "A": A, "B": B}


def test_the_judge_of_the_sweep_can_say_no():
    x, A = torch.rand(1, 3, 32, 32), torch.rand(1, 4, 8, 8)
    B = A.repeat(4, 1, 1, 1)
    for one, (rows, columns) in zip(B, architectures.quarters(4, 4), strict=True):
        one[:, rows, columns] += 1
    architectures.judge(result(torch.rand(1, 8, 8), A, B), x)
    wrong = {
        "NaN": result(torch.full((1, 8, 8), float("nan")), A, B),
        "same everywhere": result(torch.ones(1, 8, 8), A, B),
        "197 × 64": result(torch.rand(1, 197, 64), A, B),
        "8 × 4 over": result(torch.rand(1, 32, 32), A.permute(0, 2, 3, 1), B.permute(0, 2, 3, 1)),
        "quarters are not the picture's": result(
            torch.rand(1, 8, 8), A, A + (B - A).transpose(2, 3)
        ),
    }
    for words, found in wrong.items():
        with pytest.raises(architectures.Failure, match=words):
            architectures.judge(found, x)


def test_the_page_counts_what_the_results_say():
    good, bad = {"layer": "a", "problem": "", "first": False}, {"layer": "", "problem": "no"}
    rows = {
        "timm/a": {"ours": good, "torch-cam": good | {"first": True}, "pytorch-grad-cam": bad},
        "timm/b": {"ours": good, "torch-cam": bad, "pytorch-grad-cam": bad},
        "timm/c": {"skipped": "more than 100 million weights"},
        "torchvision/d": {"ours": bad, "torch-cam": bad, "pytorch-grad-cam": bad},
    }
    for key, row in rows.items():
        row["library"], row["name"] = key.split("/")
    page = architectures.page({"versions": {"torch": "1"}, "rows": rows})
    assert "| ours | 0 of 1 | 2 of 2 | 2 of 3 |" in page
    assert "| torch-cam | 0 of 1 | 1 of 2 | 1 of 3 |" in page
    assert "| pytorch-grad-cam | 0 of 1 | 0 of 2 | 0 of 3 |" in page
    assert "more than 100 million weights" in page
