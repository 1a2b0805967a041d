"""A MobileNetV2 network as stages to draw."""

from typing import Any

from zsnas_jax.graphs import Stage
from zsnas_jax.search_spaces.mobilenetv2.genotype import plan_of


def graph(arch: Any) -> list[Stage]:
    """The stem, the stages and the last convolution."""
    plan = plan_of(arch)
    size = plan.resolution // 2
    stages = [Stage(1, size, "conv 3x3", "stem", str(plan.stem))]
    for number, s in enumerate(plan.stages, start=1):
        size //= s.stride
        widths = f"{s.bottleneck * s.expansion} to {s.out}"
        name = f"stage {number}\nE{s.expansion} K{s.kernel}"
        stages.append(Stage(s.layers, size, f"{s.kernel}x{s.kernel}", name, widths))
    return [*stages, Stage(1, size, "conv 1x1", "last", str(plan.last))]
