"""Work in parts: on one process or many machines, each part on disk before the next begins.

`carried_out` does the parts that `Store` does not hold yet. What is stored carries the mark of its
run (`run_mark`), so that parts of two runs are never mixed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from tqdm.auto import tqdm

from xai_lab.pictures import octets


def carried_out(
    count: int,
    call: Callable[[int], tuple[Any, ...]],
    kind: str,
    store: Store,
    jobs: int | None = None,
    scheduler: Any = None,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Results of some calls, those in the store taken from there.

    ``call(k)`` is the k-th as (function, arguments). It is made when its turn comes, so that not
    all arguments are in memory at once.
    """
    from joblib import Parallel, delayed

    found = {k: old for k in range(count) if (old := store.read(f"{kind}-{k:05d}")) is not None}
    missing = [k for k in range(count) if k not in found]
    calls = (call(k) for k in missing)
    bar = tqdm(total=count, initial=len(found), desc=kind, disable=not progress)
    with bar, backend(scheduler):
        # In order, each as soon as it is there, so that all that is done is on disk.
        run = Parallel(n_jobs=jobs, return_as="generator")
        new_ones = run(delayed(function)(*arguments) for function, *arguments in calls)
        for k, new in zip(missing, new_ones, strict=True):
            store.write(f"{kind}-{k:05d}", new)
            found[k] = new
            bar.update()
    return [found[k] for k in range(count)]


def backend(scheduler: Any) -> Any:
    """Dask for joblib, where a scheduler is given; else whatever joblib is set to."""
    from contextlib import nullcontext

    from joblib import parallel_config

    if scheduler is None:
        return nullcontext()
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "a scheduler needs Dask, which is not installed: pip install distributed; or leave "
            "`scheduler` out and set `jobs`"
        ) from error
    if isinstance(scheduler, str):
        return parallel_config(backend="dask", scheduler_host=scheduler)
    return parallel_config(backend="dask", client=scheduler)


class Store:
    """Folder of finished parts, each written whole or not at all; without a folder, nothing."""

    def __init__(self, folder: str | os.PathLike[str] | None, mark: str) -> None:
        self.folder, self.mark = None if folder is None else Path(folder), mark
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            old = self.folder / "run.json"
            if not old.exists():
                self.put(old, json.dumps({"mark": mark}).encode())
            if json.loads(old.read_text()).get("mark") != mark:
                raise ValueError(self.other)
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            raise ValueError(f"{self.folder} cannot be written to: {error.strerror}") from error

    @property
    def other(self) -> str:
        """What to say when parts do not fit."""
        return (
            f"{self.folder} holds parts of another run: other pictures, another model or other "
            "settings. Name another folder, or empty this one"
        )

    def put(self, path: Path, data: bytes) -> None:
        """Write a file whole: beside its place first, then moved there."""
        assert self.folder is not None
        handle, beside = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(beside, path)
        except BaseException:
            Path(beside).unlink(missing_ok=True)
            raise

    def write(self, name: str, values: Mapping[str, Any]) -> None:
        """Keep arrays; text goes in as JSON, so that nothing has to be unpickled."""
        if self.folder is None:
            return
        buffer = io.BytesIO()
        plain = {k: v for k, v in values.items() if k != "broken"}
        told = [[int(i), str(why)] for i, why in values.get("broken", ())]
        np.savez_compressed(buffer, broken=np.array(json.dumps(told)), **plain)
        self.put(self.folder / f"{name}.npz", buffer.getvalue())

    def read(self, name: str) -> dict[str, Any] | None:
        """Arrays that were kept, or None: a part that is not there or damaged is done again."""
        if self.folder is None:
            return None
        try:
            with np.load(self.folder / f"{name}.npz", allow_pickle=False) as kept:
                values = {k: kept[k] for k in kept.files if k != "broken"}
                return {**values, "broken": json.loads(str(kept["broken"]))}
        except Exception:  # a damaged file fails in many ways, and all have one remedy
            return None


def run_mark(model: Any, settings: Any) -> str:
    """Mark of a run: the same for the same weights and settings."""
    mark = hashlib.blake2b(json.dumps(settings).encode(), digest_size=12)
    if isinstance(model, nn.Module):
        for name, weight in model.state_dict().items():
            mark.update(name.encode())
            mark.update(octets(weight))
    return mark.hexdigest()


def function_mark(function: Any) -> list[Any]:
    """What is known of a function: its name, its code, what it was given beforehand."""
    if isinstance(function, partial):
        told = repr((function.args, sorted(function.keywords.items())))
        return [function_mark(function.func), told]
    code = getattr(function, "__code__", None)
    name = getattr(function, "__qualname__", type(function).__qualname__)
    if code is None:
        return [name]
    # Not all of the code object: file and line of a notebook's function change with every start.
    plain = [c for c in code.co_consts if isinstance(c, int | float | str | bytes | tuple)]
    return [name, code.co_code.hex(), repr(plain), code.co_names]
