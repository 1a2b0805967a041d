"""Spearman's rho that papers print for these spaces, of 1,000 random networks each where they say nothing else.

Sources, of transformers: NCD's supplement (Kang et al., ICCV 2025), Table 2, ImageNet; of others: NAS-Bench-Suite-Zero,
Figure 2 (Krishnakumar et al., 2022); L-SWAG (1,000 networks, batch 32).
"""

from collections.abc import Mapping

TASKS = ("class_scene", "class_object", "room_layout", "jigsaw", "autoencoder", "normal", "segmentsemantic")


def _by_task(space: str, *rhos: float) -> dict[tuple[str, str], float]:
    return {(space, task): rho for task, rho in zip(TASKS, rhos, strict=True)}


def _both(micro: tuple[float, ...], macro: tuple[float, ...]) -> dict[tuple[str, str], float]:
    return _by_task("transnas101_micro", *micro) | _by_task("transnas101_macro", *macro)


_TINY = ("autoformer_t", "")

PRINTED: Mapping[str, Mapping[tuple[str, str], float]] = {
    "naswot": {_TINY: 0.75}
    | _both((0.60, 0.39, 0.25, 0.42, 0.03, 0.57, 0.53), (0.89, 0.83, 0.63, 0.76, 0.67, 0.78, 0.80))
    | {("darts", "surrogate"): 0.47},
    "snip": {_TINY: 0.38}
    | _both((0.70, 0.45, 0.32, 0.41, -0.27, 0.49, 0.68), (-0.14, -0.38, -0.19, -0.19, 0.20, 0.45, 0.27))
    | {("darts", "surrogate"): -0.05},
    "pgnorm": _both((0.65, 0.39, 0.25, 0.36, -0.32, 0.36, 0.60), (-0.33, -0.56, -0.26, -0.27, 0.31, 0.35, 0.21))
    | {("darts", "surrogate"): -0.04},
    "pnorm": _both((0.53, 0.32, 0.18, 0.35, 0.04, 0.50, 0.48), (0.28, 0.08, -0.03, 0.15, -0.20, 0.30, 0.18))
    | {("darts", "surrogate"): 0.45},
    "fisher": _both((0.66, 0.44, 0.30, 0.30, -0.58, 0.16, 0.12), (-0.13, -0.30, -0.21, -0.26, -0.19, 0.15, 0.03))
    | {("darts", "surrogate"): -0.28},
    "synflow": {
        **dict(zip([("transnas101_micro", t) for t in TASKS[:4]], (0.72, 0.48, 0.30, 0.47), strict=True)),
        **dict(zip([("transnas101_macro", t) for t in TASKS[:4]], (0.27, 0.12, -0.01, 0.34), strict=True)),
        ("darts", "surrogate"): 0.18,
    },
    "params": _both((0.64, 0.45, 0.30, 0.44, -0.01, 0.62, 0.68), (0.32, 0.16, 0.00, 0.15, -0.18, 0.30, 0.06))
    | {("darts", "surrogate"): 0.46},
    "flops": _both((0.65, 0.46, 0.30, 0.45, -0.02, 0.64, 0.69), (0.85, 0.79, 0.48, 0.64, 0.76, 0.76, 0.60))
    | {("darts", "surrogate"): 0.42},
    "sam_nwot:mask_rate=0.9": {_TINY: 0.77},
    "dss": {_TINY: 0.62},
    "autoprox": {_TINY: 0.67},
    "grasp": {_TINY: -0.03},
}
"""Proxy to (space, task) to the printed figure. Their grad_norm is our pgnorm, their l2_norm our pnorm."""
