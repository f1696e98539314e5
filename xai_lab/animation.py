"""Frames in, an animated GIF out: a folder of pictures, an animated file, or pictures by name.

`frames` reads them one at a time, `write_gif` writes them one at a time, so that a thousand take
no more memory than one. Nothing here knows a method or a network.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from PIL import GifImagePlugin, Image

from xai_lab.data import PHOTOS, photo

#: Endings of the files in a folder that are taken for frames.
ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".avif"),
)
#: Of a frame that does not say how long it lasts, in milliseconds.
DURATION = 100


@dataclass(frozen=True)
class Frame:
    """One frame, or why there is none.

    Attributes
    ----------
    number : int
        Place among all, from 0.
    name : str
        File, or the number within one.
    image : PIL.Image.Image, optional
        Upright RGB.
    duration : float
        Milliseconds.
    error : str
        Which one cannot be read, and why.
    """

    number: int
    name: str
    image: Image.Image | None
    duration: float
    error: str = ""


def frames(sources: Sequence[str], every: int = 1) -> Iterator[Frame]:
    """Frames in order, each read when it is asked for.

    Parameters
    ----------
    sources : sequence of str
        One folder, whose pictures are sorted as people count; one file, still or animated; or
        several pictures, in this order.
    every : int
        Take every so many; a frame lasts as long as those that it stands for.
    """
    if is_one_file(sources):
        yield from inside(Path(sources[0]), every)
        return
    files = files_of(sources)
    for number in range(0, len(files), every):
        name = files[number]
        duration = DURATION * len(files[number : number + every])
        try:
            yield Frame(number, name, photo(files[number]), duration)
        except (ValueError, OSError) as error:
            yield Frame(number, name, None, duration, str(error))


def inside(path: Path, every: int) -> Iterator[Frame]:
    """Frames of an animated file; of a still one, the only one."""
    photo(path)  # says what is wrong with the file as a whole
    with Image.open(path) as file:
        waiting: Frame | None = None
        for number in range(held(file)):
            image, error, duration = None, "", 0.0
            try:
                file.seek(number)
                file.load()
                # Browsers, too, give a frame this long where the file says nothing.
                duration = file.info.get("duration") or DURATION
                image = photo(file.copy()) if number % every == 0 else None
            except (ValueError, OSError, EOFError, SyntaxError) as problem:
                error = f"frame {number + 1}: {problem}"
            if number % every == 0:
                if waiting is not None:
                    yield waiting
                waiting = Frame(number, f"frame {number + 1}", image, duration, error)
            elif waiting is not None:
                waiting = replace(waiting, duration=waiting.duration + duration)
        if waiting is not None:
            yield waiting


def held(file: Image.Image) -> int:
    """Frames in an open file; other formats hold pages or previews, which are no frames."""
    return getattr(file, "n_frames", 1) if file.format in ("GIF", "PNG", "WEBP", "AVIF") else 1


def is_folder(source: str) -> bool:
    """Whether a source is a folder; the name of a photo of the course never is."""
    return source not in PHOTOS and Path(source).is_dir()


def files_of(sources: Sequence[str]) -> list[str]:
    """Files that hold the frames, in order."""
    if len(sources) == 1 and is_folder(sources[0]):
        found = [
            path
            for path in Path(sources[0]).iterdir()
            if path.suffix.lower() in ENDINGS and not path.name.startswith(".")
        ]
        return [str(path) for path in sorted(found, key=lambda path: as_counted(path.name))]
    return list(sources)


def as_counted(name: str) -> list[str | int]:
    """Key that sorts ``frame2`` before ``frame10``."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [int(part) if number % 2 else part for number, part in enumerate(parts)]


def count(sources: Sequence[str]) -> int:
    """How many frames there are, without looking at them; an animated file is skimmed."""
    return frames_in(sources[0]) if is_one_file(sources) else len(files_of(sources))


def is_one_file(sources: Sequence[str]) -> bool:
    """Whether all frames are in one file."""
    return len(sources) == 1 and sources[0] not in PHOTOS and not is_folder(sources[0])


def frames_in(source: str) -> int:
    """Frames of a file; 1 for a still one, for a photo of the course and for an unreadable file."""
    if source in PHOTOS:
        return 1
    try:
        with Image.open(source) as file:
            return held(file)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 1


def loops(sources: Sequence[str]) -> int | None:
    """How often the animation repeats: 0 for ever, ``None`` for once."""
    if is_one_file(sources) and frames_in(sources[0]) > 1:
        with Image.open(sources[0]) as file:
            return file.info.get("loop")
    return 0


def write_gif(
    file: BinaryIO, pictures: Iterable[tuple[Image.Image, float]], loop: int | None = 0
) -> None:
    """Write an animated GIF frame by frame.

    Pillow's own writer holds all frames before it writes the first, and joins those that are alike.

    Parameters
    ----------
    file : binary file
        Open for writing.
    pictures : iterable of (PIL.Image.Image, float)
        RGB pictures of one size, and how long each is shown, in milliseconds. A GIF counts in
        hundredths of a second; what is lost in rounding is made up for in the next frame.
    loop : int, optional
        Repetitions, 0 for ever; ``None`` plays it once.
    """
    due = shown = 0.0
    for number, (picture, duration) in enumerate(pictures):
        if number == 0:
            file.write(b"GIF89a" + struct.pack("<HHBBB", *picture.size, 0x70, 0, 0))
            if loop is not None:
                file.write(b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", loop, 0))
        due += duration
        time = min(max(10 * round((due - shown) / 10), 10), 655350)
        shown += time
        few = picture.quantize(256, dither=Image.Dither.NONE)
        for part in GifImagePlugin.getdata(few, duration=time, include_color_table=True):
            file.write(part)
    file.write(b";")
