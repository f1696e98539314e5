"""Maps of a whole data set, and the groups they fall into.

`survey` answers for one part of the data set: answers and maps as a table. `joined` puts the parts
together, in the order of the pictures' hashes, so that nothing that follows depends on the order of
the data set. `members_of` sorts the maps of each predicted class into groups that look at the same
places, by `spectral_clusters`.
"""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xai_lab.core import predict
from xai_lab.edits import SURE, outline
from xai_lab.faithfulness import area, mass_inside
from xai_lab.interpret import Explain, as_maps
from xai_lab.parts import Store
from xai_lab.pictures import Pictures, batches, key_of


def survey(model: Any, data: Pictures, method: Explain, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Answers and maps of some pictures, as arrays; pictures that cannot be read are listed."""
    with torch.inference_mode(False):  # a copy made in that mode could take no gradient
        own = copy.deepcopy(model) if isinstance(model, nn.Module) else model  # threads share it
    rows: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    broken: list[tuple[int, str]] = []
    for indices, x, labels, masks in batches(data, asked["batch_size"] or 16, broken):
        drawn = masks if masks is not None else [None] * len(x)
        keys = [key_of(*one) for one in zip(x, labels, drawn, strict=True)]
        x = x.to(device_of(own))
        outputs = predict(own, x, batch_size=asked["batch_size"])
        said = outputs.argmax(dim=1)
        maps = explained(own, x, said, method)
        masks, sure = outlines(x, masks)
        known = masks.flatten(1).any(dim=1)
        inside = torch.full((len(x),), torch.nan)
        inside[known.cpu()] = (
            mass_inside(maps[known], masks[known]).cpu() if known.any() else inside[:0]
        )
        pooled = F.adaptive_avg_pool2d(maps[:, None].double(), asked["cells"])[:, 0]
        pooled /= pooled.sum(dim=(1, 2), keepdim=True).clamp_min(1e-300)
        new = {
            "index": indices,
            "key": keys,
            "label": labels,
            "said": said.tolist(),
            "classes": [outputs.shape[1]] * len(x),
            "shape": [x.shape[1:]] * len(x),
            "inside": inside.tolist(),
            "area": area(masks).tolist(),
            "sure": sure.tolist(),
            "map": pooled.cpu().numpy().round(6),
        }
        for name, values in new.items():
            rows[name].extend(values)
    return {**{k: np.array(v) for k, v in rows.items()}, "broken": np.array(broken, dtype=object)}


COLUMNS = ("index", "key", "label", "said", "classes", "shape", "inside", "area", "sure", "map")


def explained(model: Any, x: Tensor, said: Tensor, method: Explain) -> Tensor:
    """Maps ``(N, H, W)`` for the predicted classes; one that is empty stays so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the map of sample")
        return as_maps(method(model, x, said))


def outlines(x: Tensor, masks: Tensor | None) -> tuple[Tensor, Tensor]:
    """Objects ``(N, H, W)`` and how sure they are; a guess that is not sure is no mask."""
    if masks is not None:
        given = masks.to(x.device)
        return given, given.flatten(1).any(dim=1).float().cpu()
    found, sure = outline(x)
    return found & (sure >= SURE).to(x.device)[:, None, None], sure


def joined(
    done: Sequence[Mapping[str, Any]], names: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Parts as one table, in the order of the pictures' hashes, and what could not be read."""
    full = [part for part in done if len(part["index"])]
    table = {
        name: np.concatenate([part[name] for part in full]) if full else np.array([])
        for name in COLUMNS
    }
    shapes = sorted({tuple(map(int, shape)) for shape in table["shape"]})
    if len(shapes) > 1:
        raise ValueError(
            f"the pictures have shapes {', '.join(map(str, shapes[:3]))}, expected one: nothing "
            "can be pasted from one into another; give the data set a transform that resizes"
        )
    order = np.argsort(table["key"], kind="stable")
    broken = {names[int(i)]: str(why) for part in done for i, why in part["broken"]}
    return {name: values[order] for name, values in table.items()}, broken


def check_kept(store: Store, data: Pictures, kind: str, count: int) -> None:
    """Refuse parts in a store whose first and last picture are not what they were.

    What can be known of a data set without reading it may miss a change: this cannot, if all of
    it was exchanged, and costs two pictures a part.
    """
    for k in range(count):
        kept = store.read(f"{kind}-{k:05d}")
        if kept is None or not len(kept["index"]):
            continue
        for row in (0, -1):
            try:
                now = key_of(*data[int(kept["index"][row])])
            except Exception:  # what cannot be read any more is another picture
                now = ""
            if now != kept["key"][row]:
                raise ValueError(store.other)


def members_of(table: Mapping[str, np.ndarray], c: int, groups: int) -> list[np.ndarray]:
    """Rows of the table that are given class c, cluster by cluster, the largest first."""
    rows = np.flatnonzero(table["said"] == c)
    found = spectral_clusters(table["map"][rows], groups)
    parts = [rows[found == k] for k in np.unique(found)]
    return sorted(parts, key=lambda part: (-len(part), int(part[0])))


def spectral_clusters(maps: np.ndarray, most: int = 4) -> np.ndarray:
    r"""Clusters of maps: spectral embedding of their neighbourhood graph, cut at the eigengap.

    .. math:: L = I - D^{-1/2} W D^{-1/2}

    W joins each map to its nearest ones, both ways; distances are Euclidean between the roots of
    the maps (Hellinger), so that a few strong cells do not decide alone. L has as many eigenvalues
    near zero as there are separate groups: their number is where the next eigenvalue is furthest
    away. The rows of those eigenvectors, scaled to length one, are clustered by k-means.

    Parameters
    ----------
    maps : ndarray
        ``(n, cells, cells)``, not negative.
    most : int
        Clusters at most.

    Returns
    -------
    ndarray
        Number of the cluster, ``(n,)``. Fewer than 12 maps are one cluster.
    """
    n = len(maps)
    if n < 12 or most == 1:
        return np.zeros(n, int)
    state = random.getstate()  # a module that the next line brings along draws a number
    from sklearn.cluster import KMeans

    random.setstate(state)
    values, vectors = np.linalg.eigh(laplacian(np.sqrt(maps.reshape(n, -1))))
    k = 1 + int(np.diff(values[: most + 1]).argmax())
    if k == 1:
        return np.zeros(n, int)
    rows = vectors[:, :k]
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
    return KMeans(k, n_init=10, random_state=0).fit(rows).labels_


def laplacian(points: np.ndarray) -> np.ndarray:
    """Normalised Laplacian of the graph of nearest neighbours: ``(n, d)`` to ``(n, n)``."""
    n = len(points)
    square = (points**2).sum(axis=1)
    distance = square[:, None] + square - 2 * points @ points.T
    np.fill_diagonal(distance, np.inf)
    near = distance.argsort(axis=1, kind="stable")[:, : min(n - 1, 3 + int(np.ceil(np.log2(n))))]
    W = np.zeros((n, n))
    np.put_along_axis(W, near, 1, axis=1)
    W = np.maximum(W, W.T)
    d = 1 / np.sqrt(W.sum(axis=1))
    return np.eye(n) - d[:, None] * W * d


def device_of(model: Any) -> torch.device:
    """Where a model computes."""
    weight = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if weight is None else weight.device
