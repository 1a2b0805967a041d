"""A network of RLNAS's mobile space as stages to draw."""

from typing import Any

from zsnas_jax.graphs import Stage
from zsnas_jax.search_spaces.rlnas.network import EXPANSIONS, IDENTITY, KERNELS, RLNAS, Skeleton, layers_of


def graph(arch: Any, image_size: int = 224, skeleton: Skeleton = RLNAS) -> list[Stage]:
    """The stem, the first block, the layers that are there, the last convolution."""
    size = -(-image_size // 2)
    found = [
        Stage(1, size, "conv 3x3", "stem", str(skeleton.stem)),
        Stage(1, size, "3x3", "first\nE1 K3", f"{skeleton.stem} to {skeleton.first}"),
    ]
    for place, (gene, layer) in enumerate(zip(arch, layers_of(skeleton), strict=True)):
        choice, size = int(gene), -(-size // layer.stride)
        if choice != IDENTITY:
            k, t = KERNELS[choice], EXPANSIONS[choice]
            widths = f"{t * layer.inputs} to {layer.channels}"
            found.append(Stage(1, size, f"{k}x{k}", f"layer {place}\nE{t} K{k}", widths))
    return [*found, Stage(1, size, "conv 1x1", "last", str(skeleton.last))]
