"""Ground truth by name or path."""

from collections.abc import Callable, Mapping
import os
import pathlib
from types import MappingProxyType

from zsnas_jax.benchmarks import nasbench101, published, transnas101
from zsnas_jax.benchmarks.nasbench201 import from_analog_nasbench, from_csv, from_nats
from zsnas_jax.benchmarks.scores import shipped_scores
from zsnas_jax.benchmarks.tabular import TabularBenchmark, load
from zsnas_jax.storage.reading import reading, shorten

BENCHMARKS: Mapping[str, Callable[[], TabularBenchmark]] = MappingProxyType(
    {"analog": from_analog_nasbench, "nasbench201_scores": shipped_scores}
)

__all__ = [
    "BENCHMARKS",
    "TabularBenchmark",
    "from_analog_nasbench",
    "from_csv",
    "from_nats",
    "load",
    "nasbench101",
    "open_benchmark",
    "published",
    "shipped_scores",
    "transnas101",
]


def open_benchmark(name: str | os.PathLike[str], space: str | None = None) -> TabularBenchmark:
    """A benchmark by name, or from a path.

    A .csv or .csv.gz, an .npz, NATS-Bench's archive (folder or .tar), NAS-Bench-101's .tfrecord or TransNAS-Bench-101's
    .pth. Reading these three takes minutes: `open_benchmark(path).save("table.npz")` once, then use the .npz.

    Args:
        name: of the benchmark, or the path.
        space: whose table is meant, of a file that holds several: of TransNAS-Bench-101, OoD-ViT-NAS, ViT-Bench.

    Raises:
        FileNotFoundError: if neither a benchmark nor a file of the name exists.
        ValueError: if the file is damaged, or of a kind that is not read.
        OSError: if it cannot be opened.
    """
    if name in BENCHMARKS:
        return BENCHMARKS[str(name)]()
    path = pathlib.Path(name)
    with reading(f"benchmark {shorten(name)!r}"):
        exists = path.exists()
    if not exists:
        raise FileNotFoundError(
            f"unknown benchmark {shorten(name)!r}: allowed are {', '.join(BENCHMARKS)} or an existing path"
        )
    if path.name.endswith((".csv", ".csv.gz")):
        if nasbench101.is_csv(path):
            return nasbench101.from_csv(path)
        return published.from_csv(path, space) or from_csv(path)
    if path.suffix == ".npz":
        return nasbench101.from_arrays(path) if nasbench101.is_arrays(path) else load(path)
    if path.suffix == ".tfrecord":
        return nasbench101.from_tfrecord(path)
    if path.suffix == ".pth":
        return transnas101.from_pth(path, space or "")
    if path.is_dir() or path.suffix == ".tar":
        return from_nats(path)
    raise ValueError(
        f"benchmark {path}: needed is a .csv, .csv.gz, .npz, .tfrecord, .pth, or NATS-Bench's archive (folder or .tar)"
    )
