"""What an architecture is made of, as numbers: its genes, and how operations join a cell's input to its output.

Such features cost nothing, and with a few trained networks they predict accuracies, alone and beside scores
(`zsnas_jax.calibration`). Axes: A architectures, G genes, F features.

Source: Kadlecova et al., "Surprisingly Strong Performance Prediction with Neural Graph Features" (GRAF), ICML 2024.
Deviation: an edge that is not there is no operation here, so that no path goes through one.
"""

from collections.abc import Iterator, Sequence
import itertools
from typing import NamedTuple

import numpy as np

from zsnas_jax.base import SearchSpace
from zsnas_jax.graphs import Graph, Titled

MOST_OPERATIONS = 5
"""Of so many all subsets are taken; of more those of one or two, and the whole."""


class Step(NamedTuple):
    """An edge, and the operation that runs on the way; None where there is none."""

    source: int
    target: int
    operation: str | None


def structure_features(space: SearchSpace, archs: np.ndarray) -> np.ndarray:
    """Those of the genes and those of the graphs, as far as the space says what they are. float64[A, F], F may be 0."""
    found = [np.zeros((len(archs), 0))]
    if space.num_choices is not None:
        found.append(gene_features(space, archs))
    if len(archs) and _cells(space, archs[0]):
        found.append(graph_features(space, archs))
    return np.concatenate(found, axis=1)


def gene_features(space: SearchSpace, archs: np.ndarray) -> np.ndarray:
    """Whether each gene of int[A, G] has each value, as float64[A, F] of mean 0 over the architectures.

    Raises:
        ValueError: if the space does not say how many values its genes have.
    """
    if space.num_choices is None:
        raise ValueError(f"space {space.name} does not say what its genes can be: it has no features of genes")
    flags = [np.asarray(archs)[:, [gene]] == np.arange(count) for gene, count in enumerate(space.num_choices)]
    found = np.concatenate(flags, axis=1).astype(float)
    found = found[:, found.std(0) > 0]
    return found - found.mean(0)


def graph_features(space: SearchSpace, archs: np.ndarray) -> np.ndarray:
    """Features of each architecture's graphs, of mean 0 and deviation 1 over the architectures; constant ones left out.

    Of each operation how often it occurs; of each subset S of the operations, counting only what is in S: the length of
    the shortest and of the longest path from an input to the output (paths of S alone; where there is none, as many as
    there are nodes, and -1), the number of edges that leave the inputs, that reach the output, and that reach a node on
    average. Of several graphs, as of DARTS's two cells, those of each.

    Args:
        space: whose `graph` gives cells.
        archs: int[A, G].

    Returns:
        float64[A, F], F the same for the same set of architectures; 0 where the graphs do not differ.

    Raises:
        ValueError: if the space does not say that its architectures are graphs.
    """
    cells = [_cells(space, arch) for arch in archs]
    if not all(cells):
        raise ValueError(f"space {space.name} does not say that its architectures are graphs: it has no graph features")
    features = np.concatenate([_of_cells(own) for own in zip(*cells, strict=True)], axis=1)
    features = features[:, np.ptp(features, axis=0) > 0]
    return (features - features.mean(0)) / features.std(0)


def _cells(space: SearchSpace, arch: np.ndarray) -> list[Graph]:
    """The graphs of an architecture; none where it is drawn otherwise."""
    shown = space.graph(arch) if space.graph else ()
    graphs = (shown,) if isinstance(shown, Graph) else shown
    return [own.graph if isinstance(own, Titled) else own for own in graphs if isinstance(own, Graph | Titled)]


def _of_cells(graphs: Sequence[Graph]) -> np.ndarray:
    """The features of one cell of every architecture, float64[A, F]."""
    steps = [steps_of(graph) for graph in graphs]
    operations = sorted({step.operation for own in steps for step in own if step.operation})
    subsets = list(_subsets(operations))
    rows = [
        [
            *(float(_count(graph, own, name)) for name in operations),
            *itertools.chain.from_iterable(_of_subset(graph, own, subset) for subset in subsets),
        ]
        for graph, own in zip(graphs, steps, strict=True)
    ]
    return np.array(rows, np.float64).reshape(len(graphs), -1)


def _subsets(operations: Sequence[str]) -> Iterator[frozenset[str]]:
    sizes = range(1, len(operations) + 1) if len(operations) <= MOST_OPERATIONS else (1, 2, len(operations))
    return (frozenset(own) for size in sizes for own in itertools.combinations(operations, size))


def steps_of(graph: Graph) -> list[Step]:
    """The edges with what runs on them: an operation of a node runs on the edges into it."""
    if graph.operations == "edges":
        return [Step(source, target, label or None) for source, target, label in graph.edges]
    inside = range(graph.num_inputs, len(graph.nodes) - 1)
    return [Step(s, t, graph.nodes[t] if t in inside else None) for s, t, _ in graph.edges]


def _count(graph: Graph, steps: Sequence[Step], operation: str) -> int:
    if graph.operations == "nodes":
        return graph.nodes[graph.num_inputs : -1].count(operation)
    return sum(step.operation == operation for step in steps)


def _of_subset(graph: Graph, steps: Sequence[Step], subset: frozenset[str]) -> list[float]:
    """Shortest path, longest path, edges out of the inputs, into the output, into a node on average."""
    size, last = len(graph.nodes), len(graph.nodes) - 1
    open_ones = [step for step in steps if step.operation is None or step.operation in subset]
    shortest: list[float] = [0.0] * graph.num_inputs + [np.inf] * (size - graph.num_inputs)
    longest = [-value for value in shortest]
    for source, target, operation in sorted(open_ones, key=lambda step: step[:2]):  # nodes are in topological order
        length = operation is not None
        shortest[target] = min(shortest[target], shortest[source] + length)
        longest[target] = max(longest[target], longest[source] + length)
    known = np.isfinite(shortest[last])
    inside = {step.target for step in open_ones if step.operation}
    reaching = [step for step in open_ones if step.target == last and (step.operation or step.source in inside)]
    own = [step for step in open_ones if step.operation]
    return [
        shortest[last] if known else float(size),
        longest[last] if known else -1.0,
        float(sum(step.source < graph.num_inputs for step in own)),
        float(len(reaching)),
        len(own) / (size - graph.num_inputs),
    ]
