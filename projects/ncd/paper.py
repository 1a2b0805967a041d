"""What the NCD paper prints of NAS-Bench-201: what random search finds under each norm, Tables 3 and 4.

Accuracies in percent, means of 5 runs of 3,000 samples. The paper names a norm, not whether activations were masked.

Source: Kang et al., "Beyond the Limits: Overcoming Negative Correlation of Activation-Based Training-Free NAS".
"""

REMEDIES = {"sam_nwot": "naswot", "nir_nwot": "naswot", "ncd_nwot": "naswot"}
REMEDIES |= {"sam_swap": "swap", "nir_swap": "swap", "ncd_swap": "swap"}
"""A proxy with a remedy to the one without: SAM masks activations, NIR has layer norm for batch norm, NCD both."""

PROXIES = ("naswot", "sam_nwot", "nir_nwot", "ncd_nwot", "swap", "sam_swap", "nir_swap", "ncd_swap", "wrcor", "params")
"""What is compared: the paper's proxies, WRCor, and Params as the control."""

NORMS = ("bn", "gn16", "gn8", "in", "dropout", "ln")
FIGURES = {
    ("naswot", "CIFAR-10"): dict(zip(NORMS, (91.95, 92.24, 93.37, 91.32, 91.41, 93.48), strict=True)),
    ("naswot", "ImageNet16-120"): dict(zip(NORMS, (42.31, 42.98, 43.13, 36.83, 40.55, 43.75), strict=True)),
    ("swap", "CIFAR-10"): dict(zip(NORMS, (90.48, 91.35, 92.31, 86.35, 92.35, 93.01), strict=True)),
    ("swap", "ImageNet16-120"): dict(zip(NORMS, (35.40, 37.42, 41.80, 21.84, 34.61, 44.07), strict=True)),
}
"""(proxy, data set) to norm to accuracy (%)."""

NORM_OF = {"naswot": ("naswot", "bn"), "swap": ("swap", "bn"), "nir_nwot": ("naswot", "ln"), "nir_swap": ("swap", "ln")}
NORM_OF |= {f"{proxy}:norm={norm}": (proxy, norm) for proxy in ("naswot", "swap") for norm in NORMS[1:]}
"""The label of a proxy of ours to (proxy, norm) of the paper."""


def find_figure(label: str, dataset: str) -> float | None:
    """The accuracy (%) that the paper prints for a proxy, by its label; None where it prints none."""
    proxy, norm = NORM_OF.get(label, ("", ""))
    return FIGURES.get((proxy, dataset), {}).get(norm)
