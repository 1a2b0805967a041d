"""A NAS-Bench-Macro network as stages to draw."""

from typing import Any

from zsnas_jax.graphs import Stage
from zsnas_jax.search_spaces.nasbench_macro.network import EXPANSIONS, KERNELS, LAST, STEM, WIDTHS


def graph(arch: Any, image_size: int = 32) -> list[Stage]:
    """The stem, the layers that are there, the last convolution."""
    found, width, size = [Stage(1, image_size, "conv 3x3", "stem", str(STEM))], STEM, image_size
    for place, (gene, channels) in enumerate(zip(arch, WIDTHS, strict=True)):
        choice, is_first = int(gene), channels != width
        size = -(-size // 2) if is_first else size
        if choice:
            k, t = KERNELS[choice], EXPANSIONS[choice]
            found.append(Stage(1, size, f"{k}x{k}", f"layer {place}\nE{t} K{k}", f"{t * width} to {channels}"))
        elif is_first:
            found.append(Stage(1, size, "conv 1x1", f"layer {place}\nidentity", str(channels)))
        width = channels
    return [*found, Stage(1, size, "conv 1x1", "last", str(LAST))]
