"""What genes and graphs say of architectures, as numbers."""

import chains
import golden
import numpy as np
import pytest

from zsnas_jax import benchmarks, calibration, search_spaces, structure
from zsnas_jax.graphs import Graph
from zsnas_jax.reports import metrics
from zsnas_jax.search_spaces import nasbench201

SPACE = nasbench201.space()
CELLS = SPACE.from_index(np.random.default_rng(0).permutation(nasbench201.NUM_ARCHS)[:40])


def walks(graph, subset, node):
    """How many operations lie on each way from a node to the output, of operations of the subset alone."""
    if node == len(graph.nodes) - 1:
        yield 0
    for source, target, operation in structure.steps_of(graph):
        if source == node and (operation is None or operation in subset):
            yield from ((operation is not None) + rest for rest in walks(graph, subset, target))


@pytest.mark.parametrize("name", ["nasbench201", "nasbench101", "darts"])
def test_paths_are_those_of_all_walks(name):
    space = search_spaces.make_space(name)
    archs = CELLS if name == "nasbench201" else chains.draw(space, 8)
    for graph in (graph for arch in archs for graph in structure._cells(space, arch)):
        operations = sorted({step.operation for step in structure.steps_of(graph) if step.operation})
        for subset in map(frozenset, (operations, operations[:1], operations[1:3])):
            found = structure._of_subset(graph, structure.steps_of(graph), subset)
            lengths = [length for start in range(graph.num_inputs) for length in walks(graph, subset, start)]
            expected = [min(lengths), max(lengths)] if lengths else [len(graph.nodes), -1]
            assert found[:2] == expected, (graph, subset)


def test_a_cell_is_counted():
    graph = Graph(("in", "a", "b", "out"), ((0, 1, "x"), (0, 2, "y"), (1, 3, "x"), (2, 3, "x"), (0, 3, "y")))
    steps = structure.steps_of(graph)
    assert [structure._count(graph, steps, name) for name in "xy"] == [3, 2]
    assert structure._of_subset(graph, steps, frozenset("xy")) == [1, 2, 3, 3, 5 / 3]
    assert structure._of_subset(graph, steps, frozenset("x")) == [2, 2, 1, 2, 1]
    assert structure._of_subset(graph, steps, frozenset("z")) == [4, -1, 0, 0, 0]
    of_nodes = Graph(
        ("in", "x", "x", "y", "out"), ((0, 1, ""), (1, 2, ""), (2, 4, ""), (0, 3, ""), (3, 4, "")), "nodes"
    )
    steps = structure.steps_of(of_nodes)
    assert [structure._count(of_nodes, steps, name) for name in "xy"] == [2, 1]
    assert structure._of_subset(of_nodes, steps, frozenset("x")) == [2, 2, 1, 1, 2 / 4]


def test_features_are_standardised_and_none_is_constant():
    found = structure.graph_features(SPACE, CELLS)
    count = found.shape[1]
    np.testing.assert_allclose([found.mean(0), found.std(0)], [np.zeros(count), np.ones(count)], atol=1e-9)
    both = structure.structure_features(SPACE, CELLS)
    np.testing.assert_array_equal(both[:, :-count], structure.gene_features(SPACE, CELLS))
    assert structure.structure_features(SPACE, CELLS[:1]).shape == (1, 0)


def test_spaces_that_do_not_say_have_none():
    space = search_spaces.make_space("nasbench_macro")
    archs = chains.draw(space, 5)
    np.testing.assert_array_equal(structure.structure_features(space, archs), structure.gene_features(space, archs))
    with pytest.raises(ValueError, match="nasbench_macro does not say that its architectures are graphs"):
        structure.graph_features(space, archs)
    with pytest.raises(ValueError, match="does not say what its genes can be"):
        structure.gene_features(space._replace(num_choices=None), archs)
    assert structure.structure_features(space._replace(num_choices=None, graph=None), archs).shape == (5, 0)


def test_beside_scores_they_predict_better_than_either():
    scores = benchmarks.open_benchmark("nasbench201_scores").columns
    truth = benchmarks.open_benchmark(golden.shared_file("data/nasbench201.csv.gz"))
    places = np.random.default_rng(1).permutation(nasbench201.NUM_ARCHS)[:1500]
    accuracy = np.asarray(truth.columns["cifar10_test_200_mean"])[places]
    ranked = calibration.score_features(np.stack([np.asarray(own)[places] for own in scores.values()], axis=1))
    graphs = structure.structure_features(SPACE, SPACE.from_index(places))
    rho = {}
    for name, groups in {"scores": [ranked], "graphs": [graphs], "both": [ranked, graphs]}.items():
        features, sizes = np.concatenate(groups, axis=1), [own.shape[1] for own in groups]
        model = calibration.fit(features[:64], accuracy[:64], sizes)
        rho[name] = metrics.spearman(calibration.predict(model, features[64:]).score, accuracy[64:])
    assert rho["both"] > rho["scores"] > rho["graphs"] > 0.85
