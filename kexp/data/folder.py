"""The user's own images in a folder: flat, by class, or in splits."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection as CollectionOf
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from kexp.choice import Count, choice
from kexp.data.base import Collection, DataSet, Examples
from kexp.data.images import SUFFIXES, Colour, read_images, warn_of
from kexp.data.mapped import mapped_images
from kexp.errors import ConfigError, DataError, DataMissing

SPLITS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
"""Names of subfolders that are splits, in lower case, and which split each one is."""


@choice
class Folder(DataSet):
    """Images in the folder `path`, as they lie or in one subfolder per class.

    Subfolders `train` with `val` (or `validation`) and `test`, or some of them, are taken as
    the splits; otherwise the split is by file. A relative `path` is looked for in the current
    directory, then in the data directory. With `side` every image is cut to its central square
    and resized to side × side pixels, which classification needs where the sizes differ.

    `mapped` is for data that are large: the images are decoded once into the folder `.mapped` of
    the data directory, and stay on disk but for those in use (docs/data.md).
    """

    targets: ClassVar[tuple[str, ...]] = (
        "classification",
        "binary",
        "image regression",
        "colour regression",
        "projection",
    )

    path: str = ""
    colour: Colour = "grey"
    side: Count | None = None
    mapped: bool = False

    def where(self, folder: Path) -> str:
        """The folder found; `DataMissing` where there is none."""
        return str(self._find(folder))

    def load(self, folder: Path) -> Collection:
        """The images, uint8: (n, h, w, c) if all have one shape, else a list of (h, w, c).

        Labels are class numbers, int32, in the order of the sorted class names; there are none
        where the images lie in no class folders.
        """
        root = self._find(folder)
        parts = Listing(root).parts()
        classes = _classes(root, parts)
        number = {name: i for i, name in enumerate(classes)}
        files = [file for part in parts.values() for file in part.files]
        images, digests = self._images(files, folder)
        splits, start = {}, 0
        for role, part in parts.items():
            end = start + len(part.files)
            labels = np.array([number[name] for name in part.labels], np.int32)
            names = [file.relative_to(root).as_posix() for file in part.files]
            splits[role] = Examples(
                images[start:end],
                labels if classes else None,
                names,
                digests=digests[start:end] if digests else None,
            )
            start = end
        return Collection(**splits, classes=classes)

    def _images(self, files: list[Path], folder: Path) -> tuple[Any, list[bytes] | None]:
        """The images of all files, and their digests where they are known."""
        if not self.mapped:
            return _stack(read_images(files, self.colour, self.side)), None
        found = mapped_images(files, self.colour, self.side, folder / ".mapped")
        return found.images, found.digests

    def _find(self, folder: Path) -> Path:
        if not self.path:
            raise ConfigError("data=folder needs data.path=DIR, the folder of your images")
        return found_folder(self.path, folder)


def found_folder(path: str, folder: Path) -> Path:
    """The folder that `data.path` names, in the current directory or in the data directory."""
    given = Path(os.path.expanduser(path))
    places = [Path.cwd() / given] if given.is_absolute() else [Path.cwd() / given, folder / given]
    for place in places:
        if place.is_dir():
            return place
    looked = " and ".join(repr(str(place)) for place in places)
    if any(place.exists() for place in places):
        raise DataError(f"data.path={path!r} must be a folder, not a file: {looked}")
    raise DataMissing(f"data.path={path!r} does not exist: looked for {looked}")


@dataclass
class _Part:
    """The files of one split, and the class name of each (none if there are no classes)."""

    files: list[Path] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


class Listing:
    """Walks the folder, at most split/class/file deep, and keeps account of what it leaves out.

    The files with one of the `suffixes` are `what`, in words.
    """

    def __init__(self, root: Path, suffixes: CollectionOf[str] = SUFFIXES, what: str = "images"):
        self.root = root
        self.suffixes = suffixes
        self.what = what
        self.real = Path(os.path.realpath(root))
        self.skipped: defaultdict[str, list[str]] = defaultdict(list)
        self.leaving: list[str] = []
        self.empty: list[str] = []

    def parts(self) -> dict[str, _Part]:
        """The files of each split; `DataError` for symlinks that leave and for empty folders."""
        folders, files = self.entries(self.root)
        splits = _splits(self.root, folders)
        if splits:
            self.skip("images beside the folders of the splits", files)
            parts = {role: self._part(f, *self.entries(f)) for role, f in splits.items()}
        else:
            parts = {"train": self._part(self.root, folders, files)}
        self.close()
        return parts

    def skip(self, kind: str, entries: list[Path]) -> None:
        """Keep account of entries that are left out, for the warning of their kind."""
        if entries:
            self.skipped[kind] += [self._name(entry) for entry in entries]

    def close(self) -> None:
        """Raise `DataError` for what cannot be used, and warn of what is skipped."""
        self._complain()
        for kind, names in self.skipped.items():
            warn_of(f"{kind} skipped in {str(self.root)!r}", names)

    def _complain(self) -> None:
        if self.leaving:
            raise DataError(
                f"symlinks that leave {str(self.root)!r} are not followed: "
                f"{', '.join(self.leaving)}; copy what they point to, or remove them"
            )
        if self.empty:
            skipped = sum(len(names) for names in self.skipped.values())
            raise DataError(
                f"no images in {', '.join(self.empty)} ({skipped} other entries skipped); "
                f"expected files that end in {' '.join(sorted(SUFFIXES))}"
            )

    def _part(self, base: Path, folders: list[Path], files: list[Path]) -> _Part:
        """The images of a split: those of its class folders, or else its own."""
        if not folders:
            return _Part(self._some(base, files))
        self.skip("images beside class folders", files)
        part = _Part()
        for folder in folders:
            deeper, files = self.entries(folder)
            self.skip("folders below a class folder", deeper)
            part.files += self._some(folder, files)
            part.labels += [folder.name] * len(files)
        return part

    def entries(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """Subfolders of a folder, and files with one of the suffixes, sorted by name."""
        folders: list[Path] = []
        files: list[Path] = []
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            raise DataError(f"cannot list {str(folder)!r}: {error.strerror}") from error
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                self.skip("hidden files or folders", [entry])
            elif entry.is_symlink() and not self._inside(entry):
                self.leaving.append(repr(self._name(entry)))
            elif entry.is_dir():
                folders.append(entry)
            elif entry.suffix.lower() in self.suffixes:
                files.append(entry)
            else:
                self.skip(f"files that are no {self.what}", [entry])
        return folders, files

    def _some(self, folder: Path, files: list[Path]) -> list[Path]:
        if not files:
            self.empty.append(repr(str(folder)))
        return files

    def _inside(self, entry: Path) -> bool:
        return Path(os.path.realpath(entry)).is_relative_to(self.real)

    def _name(self, entry: Path) -> str:
        return entry.relative_to(self.root).as_posix()


def _splits(root: Path, folders: list[Path]) -> dict[str, Path]:
    """The folder of each split; nothing where the subfolders are classes, or there are none."""
    roles = [SPLITS.get(folder.name.lower()) for folder in folders]
    if not {"validation", "test"} & set(roles) and set(roles) != {"train"}:
        return {}  # `train` among other names can be a class: the vehicle
    if None in roles or "train" not in roles or len(set(roles)) < len(roles):
        names = ", ".join(repr(folder.name) for folder in folders)
        raise DataError(
            f"{str(root)!r} must hold one folder per split (train, val or validation, test) or "
            f"one per class, not both; it holds {names}"
        )
    return {role: folder for role, folder in zip(roles, folders, strict=True) if role}


def _classes(root: Path, parts: dict[str, _Part]) -> list[str]:
    """Sorted class names of the training split, which the other splits must share."""
    classes = sorted(set(parts["train"].labels))
    for role, part in parts.items():
        unknown = set(part.labels) - set(classes)
        if unknown or bool(part.labels) != bool(classes):
            raise DataError(
                f"{str(root)!r}: the splits must have the same class folders; "
                f"train has {classes or 'none'}, {role} has {sorted(set(part.labels)) or 'none'}"
            )
    return classes


def _stack(images: list[np.ndarray]) -> Any:
    same = len({image.shape for image in images}) == 1
    return np.stack(images) if same else images
