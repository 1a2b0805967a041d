"""What a run of training ended in, as a plain Flax module and its variables."""

import os
import pathlib
from typing import Any

import flax.linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
import jax
import jax.numpy as jnp

from zsnas_jax import search_spaces
from zsnas_jax.storage import files
from zsnas_jax.training import checkpoints
from zsnas_jax.training.models import Model, make_model
from zsnas_jax.training.recipes import Recipe
from zsnas_jax.training.steps import init_state


def load(folder: str | os.PathLike[str], model: Model | None = None) -> tuple[nn.Module, Any]:
    """The network that `train_main` trained in a folder, from its last checkpoint, and its variables.

    `module.apply(variables, pictures)` gives logits float[N, K] of pictures uint8[N, H, W, 3], or float in [0, 1]; a
    module of your own what it gives. Where the recipe averages weights, these are the averages. An auxiliary head is
    left away.

    Args:
        folder: of the run.
        model: of a run by `fit` whose settings say no space.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        ValueError: if it is damaged, of another network, or says no space and no model is given.
    """
    path = checkpoints.newest(folder)
    own = checkpoints.read_meta(path)["settings"]
    recipe = Recipe(**own["recipe"])
    if model is None and "space" not in own:
        raise ValueError(f"{path} does not say of which space its network is: give load its model")
    if model is None:
        space = search_spaces.make_space(own["space"], own.get("size", {}))
        colours = {"mean": own["mean"], "std": own["std"]}
        in_training: dict[str, Any] = {"auxiliary": bool(recipe.auxiliary_weight), "drop_path": bool(recipe.drop_path)}
        model = make_model(space, space.decode(own["arch"]), own["num_classes"], **colours, **in_training)
    image = jnp.zeros((1, own["image_size"], own["image_size"], 3), jnp.uint8)
    like = jax.eval_shape(lambda key: init_state(key, model, recipe, image), jax.random.key(0))
    variables = jax.tree.map(jnp.asarray, checkpoints.read_state(pathlib.Path(path), like).result)
    return model.evaluate, _without_auxiliary(model, variables, image) if model.has_auxiliary else variables


def _without_auxiliary(model: Model, variables: Any, image: jax.Array) -> Any:
    """The variables that a trained network reads, of those that it had in training."""
    needed = flatten_dict(jax.eval_shape(model.evaluate.init, jax.random.key(0), image))
    return unflatten_dict({path: leaf for path, leaf in flatten_dict(variables).items() if path in needed})


def fingerprint(folder: str | os.PathLike[str]) -> str:
    """What tells the last checkpoint of a run from others; FileNotFoundError if there is none."""
    return files.sha256(checkpoints.newest(folder) / checkpoints.CHECKSUMS)[:16]
