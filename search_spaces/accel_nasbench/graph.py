"""An Accel-NASBench network as stages to draw."""

from typing import Any

from zsnas_jax.graphs import Stage
from zsnas_jax.search_spaces.accel_nasbench.genotype import plan_of
from zsnas_jax.search_spaces.accel_nasbench.network import INPUTS, LAST, STEM, STRIDES, WIDTHS


def graph(arch: Any, image_size: int = 224) -> list[Stage]:
    """The stem, the stages, the last convolution."""
    size = -(-image_size // 2)
    found = [Stage(1, size, "conv 3x3", "stem", str(STEM))]
    for place, (stage, inputs, channels, stride) in enumerate(zip(plan_of(arch), INPUTS, WIDTHS, STRIDES, strict=True)):
        size, k = -(-size // stride), stage.kernel
        name = f"stage {place}\nE{stage.expansion} K{k}" + (" SE" if stage.squeeze_excite else "")
        found.append(Stage(stage.layers, size, f"{k}x{k}", name, f"{stage.expansion * inputs} to {channels}"))
    return [*found, Stage(1, size, "conv 1x1", "last", str(LAST))]
