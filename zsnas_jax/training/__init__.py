"""Training a found network from scratch, by the recipes of the papers."""

from zsnas_jax.training.augmentations import AUGMENTATIONS, Frame
from zsnas_jax.training.loop import Data, Trained, describe, fit, make_mesh
from zsnas_jax.training.models import Classifier, Model, count_costs, make_model
from zsnas_jax.training.recipes import RECIPES, Recipe, find_recipe
from zsnas_jax.training.trained import fingerprint, load

__all__ = [
    "AUGMENTATIONS",
    "RECIPES",
    "Classifier",
    "Data",
    "Frame",
    "Model",
    "Recipe",
    "Trained",
    "count_costs",
    "describe",
    "find_recipe",
    "fingerprint",
    "fit",
    "load",
    "make_mesh",
    "make_model",
]
