"""Packaging of zsnas-jax. `search_spaces/` and `benchmarks/` are installed as sub-packages of `zsnas_jax`."""

import pathlib
import re

import setuptools

ROOT = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "([^"]+)"', (ROOT / "zsnas_jax" / "__init__.py").read_text()).group(1)

PLOTS = ["matplotlib>=3.8"]
TRAIN = ["grain>=0.2.18", "orbax-checkpoint>=0.12", "pillow>=11", "tensorboardX>=2.6.4"]
TFDS = ["importlib_resources>=6", "tensorflow-datasets>=4.9.7"]  # it imports the first and does not ask for it
ALL = PLOTS + TRAIN + TFDS
DEMO = [*ALL, "analog-nasbench>=0.1.3"]
TEST = [*DEMO, "chex>=0.1.90", "pytest>=8", "pytest-xdist>=3", "hypothesis>=6", "nats-bench>=1.8"]
DOCS = ["sphinx>=8.1,<10", "myst-parser>=4,<6", "sphinx-book-theme>=1.1,<2", "sphinx-copybutton>=0.5,<1"]

setuptools.setup(
    name="zsnas-jax",
    version=VERSION,
    description="Zero-shot neural architecture search in JAX and Flax",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    package_dir={
        "zsnas_jax": "zsnas_jax",
        "zsnas_jax.search_spaces": "search_spaces",
        "zsnas_jax.benchmarks": "benchmarks",
    },
    packages=[
        "zsnas_jax",
        "zsnas_jax.benchmarks",
        "zsnas_jax.datasets",
        "zsnas_jax.measure",
        "zsnas_jax.nn",
        "zsnas_jax.proxies",
        "zsnas_jax.reports",
        "zsnas_jax.runs",
        "zsnas_jax.scoring",
        "zsnas_jax.search",
        "zsnas_jax.search_spaces",
        "zsnas_jax.search_spaces.accel_nasbench",
        "zsnas_jax.search_spaces.autoformer",
        "zsnas_jax.search_spaces.darts",
        "zsnas_jax.search_spaces.mobilenetv2",
        "zsnas_jax.search_spaces.nasbench101",
        "zsnas_jax.search_spaces.nasbench201",
        "zsnas_jax.search_spaces.nasbench_macro",
        "zsnas_jax.search_spaces.nats_size",
        "zsnas_jax.search_spaces.pit",
        "zsnas_jax.search_spaces.rlnas",
        "zsnas_jax.search_spaces.transnas101",
        "zsnas_jax.search_spaces.zennas_mobilenet",
        "zsnas_jax.storage",
        "zsnas_jax.training",
    ],
    package_data={
        "zsnas_jax": ["py.typed"],
        "zsnas_jax.benchmarks": ["nasbench201_scores.npz"],
        "zsnas_jax.search_spaces.nasbench101": ["cells.npz"],
        "zsnas_jax.search_spaces.transnas101": ["order.npz"],
    },
    install_requires=[
        "absl-py>=2",
        "flax>=0.12",
        "jax>=0.8",
        "numpy>=2",
        "optax>=0.2.5",
        "scipy>=1.13",
        "tabulate>=0.9",
        "tqdm>=4.66",
    ],
    extras_require={
        "all": ALL,
        "cuda12": ["jax[cuda12]"],
        "demo": DEMO,
        "docs": DOCS,
        "test": TEST,
        "dev": [*TEST, "ruff>=0.14", "mypy>=1.18", "build>=1.2", "types-tabulate", "types-tqdm"],
    },
    entry_points={
        "console_scripts": [
            "score_main = zsnas_jax.command:score_main",
            "merge_main = zsnas_jax.command:merge_main",
            "search_main = zsnas_jax.command:search_main",
            "train_main = zsnas_jax.command:train_main",
            "compare_main = zsnas_jax.command:compare_main",
        ]
    },
    zip_safe=False,
)
