"""Pictures of any kind of data set, by number: class folders, tensors, or a sequence of items.

`pictures_of` takes what a user has, `Pictures` hands out its items, `batches` reads them in stacks
and lists those that cannot be read. `key_of` and `Pictures.mark` say whether two data sets are the
same.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xai_lab.diagnosis import class_number


class UnfitError(TypeError):
    """What an item is cannot be mended by leaving it out: all others will be like it."""


class Pictures:
    """Pictures by number, whatever holds them: items ``(image, label, mask or None)``."""

    def __init__(self, items: Any, indices: Sequence[int] | None = None) -> None:
        self.items = items
        self.indices = list(range(len(items)) if indices is None else indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> tuple[Tensor, int, Tensor | None]:
        item = self.items[i]
        if not isinstance(item, tuple | list) or not 2 <= len(item) <= 3:
            raise UnfitError(
                f"item {i} of the data set is {kind_of(item)}, expected (image, label) or "
                "(image, label, mask)"
            )
        image, label, *mask = item
        if image is None:
            raise ValueError("there is no picture")
        if not isinstance(image, Tensor) or image.ndim != 3 or not image.is_floating_point():
            raise UnfitError(
                f"the picture of item {i} is {kind_of(image)}, expected a float tensor (C, H, W) "
                "as the model wants it; give the data set a transform, such as that of "
                "`xai_lab.load`"
            )
        if not torch.isfinite(image).all():
            raise ValueError("the picture holds NaN or infinity")
        return image, int(label), mask[0] if mask else None

    def name(self, i: int) -> str:
        """What to call a picture."""
        return self.items.names[i] if isinstance(self.items, Folder) else f"picture {i}"

    def part(self, indices: Sequence[int]) -> Pictures:
        """Some of them, under their own numbers; what is sent to a worker."""
        items = self.items.some(indices) if isinstance(self.items, Tensors) else self.items
        return Pictures(items, indices)

    def mark(self) -> str:
        """Hash of what can be known without reading every picture.

        Tensors in full; of a folder the files' names, sizes and times; of anything else its
        length, so that `xai_lab.survey.check_kept` has to look at some of its pictures.
        """
        mark = hashlib.blake2b(str(len(self)).encode(), digest_size=12)
        if isinstance(self.items, Tensors):
            for one in (self.items.images, self.items.labels, self.items.masks):
                mark.update(b"none" if one is None else octets(one))
        elif isinstance(self.items, Folder):
            files = [self.items.root / name for name in self.items.names]
            told = [self.items.names, self.items.labels, [state_of(file) for file in files]]
            mark.update(json.dumps(told).encode())
        return mark.hexdigest()


@dataclass(frozen=True)
class Tensors:
    """Images, labels and perhaps masks in memory; ``places`` says where a number is found."""

    images: Tensor
    labels: Tensor
    masks: Tensor | None = None
    places: Mapping[int, int] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Any, ...]:
        k = i if self.places is None else self.places[i]
        one = (self.images[k], int(self.labels[k]))
        return one if self.masks is None else (*one, self.masks[k])

    def some(self, indices: Sequence[int]) -> Tensors:
        """Only those, so that no worker is sent the rest."""
        chosen = list(indices)
        masks = None if self.masks is None else self.masks[chosen]
        places = {i: k for k, i in enumerate(chosen)}
        return Tensors(self.images[chosen], self.labels[chosen], masks, places)


@dataclass(frozen=True)
class Folder:
    """Files of class folders: names relative to the folder, their classes, and the transform."""

    root: Path
    names: list[str]
    labels: list[int]
    transform: Any

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        from xai_lab.data import photo

        return self.transform(photo(self.root / self.names[i])), self.labels[i]


def pictures_of(dataset: Any, model: Any, labels: Sequence[str] | None) -> Pictures:
    """Pictures of any kind of data set that `find_shortcuts` takes."""
    if isinstance(dataset, str | os.PathLike):
        return Pictures(class_folders(Path(dataset), model, labels))
    if hasattr(dataset, "images") and hasattr(dataset, "labels"):
        dataset = (dataset.images, dataset.labels, dataset.masks)
    if isinstance(dataset, tuple) and 2 <= len(dataset) <= 3 and isinstance(dataset[0], Tensor):
        lengths = {len(one) for one in dataset}
        if len(lengths) != 1:
            raise ValueError(f"images, labels and masks have lengths {sorted(lengths)}")
        return Pictures(Tensors(*dataset))
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise TypeError(
            f"the data set is a {type(dataset).__name__}, expected a folder, (images, labels), or "
            "something with a length whose items are (image, label)"
        )
    classes = getattr(dataset, "classes", None)
    if labels is not None and isinstance(classes, list | tuple):
        own = [str(one).replace("_", " ").lower() for one in classes]
        wanted = [str(one).lower() for one in labels]
        if own != wanted and sorted(own) == sorted(wanted):
            raise ValueError(
                f"the data set numbers its classes {', '.join(map(str, classes[:3]))}, …, the "
                f"model {', '.join(map(str, labels[:3]))}, …: give it a target_transform to the "
                "model's numbers"
            )
    return Pictures(dataset)


def class_folders(root: Path, model: Any, labels: Sequence[str] | None) -> Folder:
    """Files of a folder of class folders, in the order of their names."""
    if not hasattr(model, "transform") or labels is None:
        raise ValueError("a folder needs a model from `xai_lab.load`, for its transform and labels")
    if not root.is_dir():
        raise ValueError(f"there is no folder {str(root)!r}")
    names, classes = [], []
    for one in listed(root):
        if not one.is_dir():
            continue
        try:
            c = class_number(one.name.replace("_", " "), labels)
        except ValueError as error:
            raise ValueError(f"the folder {one.name!r} is none of the classes: {error}") from error
        for file in listed(one):
            if file.is_file():
                names.append(f"{one.name}/{file.name}")
                classes.append(c)
    return Folder(root, names, classes, model.transform)


def listed(folder: Path) -> list[Path]:
    """What is in a folder, hidden files left out, or a sentence."""
    try:
        return sorted(one for one in folder.iterdir() if not one.name.startswith("."))
    except PermissionError as error:
        raise ValueError(f"{folder} may not be read by you; change its permissions") from error


def batches(
    data: Pictures, size: int, broken: list[tuple[int, str]]
) -> Iterator[tuple[list[int], Tensor, list[int], Tensor | None]]:
    """Stacks of pictures that can be read; the others are added to ``broken``."""
    waiting: list[tuple[int, Tensor, int, Tensor | None]] = []
    for i in data.indices:
        try:
            one = (i, *data[i])
        except UnfitError:
            raise
        except Exception as error:  # files break in many ways, and decoders in more
            broken.append((i, str(error) or type(error).__name__))
            continue
        if waiting and (one[1].shape != waiting[0][1].shape or len(waiting) == size):
            yield stacked(waiting)
            waiting = []
        waiting.append(one)
    if waiting:
        yield stacked(waiting)


def stacked(
    some: Sequence[tuple[int, Tensor, int, Tensor | None]],
) -> tuple[list[int], Tensor, list[int], Tensor | None]:
    """Numbers, pictures, labels and masks of some items."""
    indices, images, labels, masks = zip(*some, strict=True)
    drawn = None if masks[0] is None else torch.stack(masks)
    return list(indices), torch.stack(images), list(labels), drawn


def key_of(image: Tensor, label: int, mask: Tensor | None = None) -> str:
    """Hash of a picture, its label and its mask: what it is ordered by, and known again by."""
    mark = hashlib.blake2b(octets(image), digest_size=12)
    mark.update(str(label).encode())
    mark.update(b"" if mask is None else octets(mask))
    return mark.hexdigest()


def octets(values: Tensor) -> Any:
    """A tensor's numbers as they lie in memory, for a hash."""
    return values.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()


def state_of(file: Path) -> list[int]:
    """Size and time of a file; nothing of one that is gone or out of reach."""
    try:
        seen = file.stat()
    except OSError:
        return []
    return [seen.st_size, seen.st_mtime_ns]


def kind_of(value: Any) -> str:
    """A value's kind, in words."""
    if isinstance(value, Tensor):
        return f"a {str(value.dtype).removeprefix('torch.')} tensor {tuple(value.shape)}"
    return f"of type {type(value).__module__}.{type(value).__qualname__}"
