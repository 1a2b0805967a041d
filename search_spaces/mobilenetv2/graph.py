"""A MobileNetV2 network as stages to draw."""

from zsnas_jax.graphs import Stage
from zsnas_jax.search_spaces.mobilenetv2.network import Plan


def stages_of(plan: Plan) -> list[Stage]:
    """The stem, the stages and the last convolution."""
    size = plan.resolution // 2
    stages = [Stage(1, size, "conv 3x3", "stem", str(plan.stem))]
    for number, s in enumerate(plan.stages, start=1):
        size //= s.stride
        widths = f"{s.bottleneck * s.expansion} to {s.out}"
        name = f"stage {number}\nE{s.expansion} K{s.kernel}"
        stages.append(Stage(s.layers, size, f"{s.kernel}x{s.kernel}", name, widths))
    return [*stages, Stage(1, size, "conv 1x1", "last", str(plan.last))]
