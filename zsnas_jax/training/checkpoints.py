"""Checkpoints by orbax, each with the checksums of its files: what was damaged is named, not loaded.

FOLDER/checkpoints/STEP/          orbax's: "state", a tree of arrays, and "meta", JSON
FOLDER/checkpoints/STEP/sha256.json    written last; a checkpoint without it is not finished
"""

from collections.abc import Mapping
import json
import os
import pathlib
import shutil
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from zsnas_jax.storage import files
from zsnas_jax.storage.store import say_differences

CHECKSUMS, META = "sha256.json", "meta/metadata"
_TEMPORARY = "*.orbax-checkpoint-tmp*"
_SLACK = 1 << 20  # bytes that files need beside their arrays
_KEPT = 2


class Checkpoints:
    """The last two checkpoints of a run. Use it as a context manager.

    Args:
        folder: of the run; made if it is missing.
        settings: what the run is, JSON values: one of other settings is not gone on with.

    Raises:
        OSError: if the folder cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        self.folder = _root(folder)
        self.settings = json.loads(json.dumps(settings))
        unfinished = [path for path in _steps(self.folder).values() if not (path / CHECKSUMS).exists()]
        for path in [*unfinished, *self.folder.glob(_TEMPORARY)]:  # a process was killed while it saved
            shutil.rmtree(path)
        options = ocp.CheckpointManagerOptions(max_to_keep=_KEPT, enable_async_checkpointing=False)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        except OSError as error:
            raise OSError(f"cannot make {self.folder}: {error.strerror or error}") from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def save(self, step: int, state: Any, meta: Mapping[str, Any]) -> None:
        """Saves a tree of arrays and JSON values, durably, and drops all but the last two.

        Raises:
            OSError: if the disk fails or is full, and the checkpoints before are kept; or if their folder is gone.
        """
        if not self.folder.is_dir():
            raise OSError(f"cannot save the checkpoint of step {step}: {self.folder} was deleted while this ran")
        own, state = dict(meta) | {"settings": self.settings}, jax.device_get(state)
        items = {"state": ocp.args.StandardSave(state), "meta": ocp.args.JsonSave(own)}
        path = self.folder / str(step)
        try:
            _check_space(self.folder, state)  # orbax says so in pages
            self._manager.save(step, args=ocp.args.Composite(**items), force=True)
            files.write_text(path / CHECKSUMS, json.dumps(_checksums(path), indent=1) + "\n")
        except Exception as error:  # tensorstore raises ValueError for a full disk
            for left in [path, *self.folder.glob(_TEMPORARY)]:
                shutil.rmtree(left, ignore_errors=True)
            kept = [known for known in sorted(_steps(self.folder)) if known != step]
            last = f"the checkpoint of step {kept[-1]} is kept" if kept else "there is none before it"
            raise OSError(f"cannot save the checkpoint {path}: {_first_line(error)}; {last}") from error

    def restore(self, like: Any) -> tuple[Any, dict[str, Any]] | None:
        """The last (state, meta), or None if there is no checkpoint.

        Args:
            like: a tree of arrays or `jax.ShapeDtypeStruct`s, of the state's structure, shapes and dtypes.

        Raises:
            ValueError: if it is of other settings (it says which differ) or of other arrays, or is damaged.
        """
        steps = _steps(self.folder)
        if not steps:
            return None
        path = steps[max(steps)]
        meta = read_meta(path)
        if said := say_differences(self.settings, meta["settings"]):
            raise ValueError(f"{path} is of another run: {said}. Take another folder")
        return read_state(path, like), meta


def newest(folder: str | os.PathLike[str]) -> pathlib.Path:
    """The last finished checkpoint of a run; FileNotFoundError if there is none."""
    steps = _finished(_root(folder))
    if not steps:
        raise FileNotFoundError(f"{folder} holds no checkpoint")
    return steps[max(steps)]


def read_meta(path: pathlib.Path) -> dict[str, Any]:
    """The JSON values of a checkpoint, whose files are checked first.

    Raises:
        ValueError: if a file is damaged or missing.
    """
    try:
        expected, found = json.loads((path / CHECKSUMS).read_text()), _checksums(path)
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, CHECKSUMS) from error
    if not isinstance(expected, dict) or META not in expected:
        raise _damaged(path, CHECKSUMS)
    for name in sorted(expected.keys() | found.keys()):
        if found.get(name) != expected.get(name):
            raise _damaged(path, name)
    return json.loads((path / META).read_text())


def read_state(path: pathlib.Path, like: Any) -> Any:
    """The state of a checkpoint that `read_meta` has checked, as numpy arrays, in the structure of `like`.

    Raises:
        ValueError: if the checkpoint holds other arrays.
    """
    empty = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), like)
    with ocp.StandardCheckpointer() as checkpointer:
        try:
            state = checkpointer.restore(path / "state", empty)
        except ValueError as error:
            raise ValueError(f"{path} is of another network: {_first_line(error)}") from error
    for (where, found), needed in zip(jax.tree_util.tree_leaves_with_path(state), jax.tree.leaves(like), strict=True):
        if found.shape != needed.shape or found.dtype != needed.dtype:
            name, shape = jax.tree_util.keystr(where), list(found.shape)
            raise ValueError(f"{path} is of another network: {name} is {found.dtype}{shape}, needed is {needed.dtype}"
                             f"{list(needed.shape)}")  # fmt: skip
    return state


def _root(folder: str | os.PathLike[str]) -> pathlib.Path:
    return (pathlib.Path(folder) / "checkpoints").resolve()


def _steps(root: pathlib.Path) -> dict[int, pathlib.Path]:
    return {int(path.name): path for path in root.glob("*") if path.name.isdigit()} if root.is_dir() else {}


def _finished(root: pathlib.Path) -> dict[int, pathlib.Path]:
    return {step: path for step, path in _steps(root).items() if (path / CHECKSUMS).exists()}


def _check_space(folder: pathlib.Path, state: Any) -> None:
    needed = _SLACK + sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(f"{free / 2**20:.1f} MiB of the disk are free, {needed / 2**20:.1f} MiB are needed")


def _checksums(path: pathlib.Path) -> dict[str, str]:
    found = sorted(file for file in path.rglob("*") if file.is_file() and file.name != CHECKSUMS)
    return {str(file.relative_to(path)): files.sha256(file) for file in found}


def _damaged(path: pathlib.Path, name: str) -> ValueError:
    before = [step for step in _finished(path.parent) if step < int(path.name)]
    way = f"to go on from step {max(before)}" if before else "to begin anew"
    return ValueError(f"checkpoint {path} is damaged ({name}): delete it {way}")


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
