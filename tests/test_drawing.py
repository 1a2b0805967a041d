import itertools

import matplotlib.image
import numpy as np
import pytest

from zsnas_jax import search_spaces
from zsnas_jax.graphs import Graph
from zsnas_jax.reports import drawing
from zsnas_jax.reports.layout import columns_of, lay_out
from zsnas_jax.search_spaces import darts, mobilenetv2


def cell(space, arch):
    return space.graph(arch)


def test_a_cell_of_nasbench201_has_its_operations_on_edges():
    space = search_spaces.make_space("nasbench201")
    arch = space.decode("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|")
    drawn = cell(space, arch)
    assert drawn.nodes == ("input", "1", "2", "output")
    assert drawn.edges == ((0, 1, "conv 3x3"), (1, 2, "skip"), (0, 3, "avg pool 3x3"), (2, 3, "conv 1x1"))


def test_a_cell_of_nasbench101_has_its_operations_at_nodes():
    space = search_spaces.make_space("nasbench101")
    drawn = cell(space, space.decode("0110000100010000:in-c3-mp-out"))
    assert drawn.nodes == ("input", "conv 3x3", "max pool 3x3", "output")
    assert set(drawn.edges) == {(0, 1, ""), (0, 2, ""), (1, 3, ""), (2, 3, "")}


@pytest.mark.parametrize(("name", "index"), [("nasbench201", 13714), ("nasbench101", 400_001)])
def test_a_drawing_fills_its_picture(name, index, tmp_path):
    space = search_spaces.make_space(name)
    arch = space.from_index(index)
    drawing.draw(tmp_path / "cell.png", space, arch, space.encode(arch))
    picture = matplotlib.image.imread(tmp_path / "cell.png")[..., :3]
    height, width = picture.shape[:2]
    inked = (picture < 0.95).any(-1)
    assert width > 600 and height > 150
    assert inked[:, : width // 4].any() and inked[:, -width // 4 :].any()
    assert np.isclose(picture, 0xE8 / 255, atol=0.01).all(-1).any()  # the boxes of input and output


def test_every_space_says_what_it_looks_like():
    assert [name for name in search_spaces.SPACES if search_spaces.make_space(name).graph is None] == []


def test_a_network_of_mobilenetv2_is_drawn_by_stages():
    space = search_spaces.make_space("mobilenetv2")
    stages = space.graph(space.decode(mobilenetv2.TABLE_11))
    assert [stage.layers for stage in stages[1:-1]] == [
        s.layers for s in space.static(space.decode(mobilenetv2.TABLE_11)).stages
    ]
    assert stages[0].kind == "conv 3x3" and stages[-1].pixels == 7


def test_a_cell_without_edges_is_drawn_too(tmp_path):
    space = search_spaces.make_space("nasbench201")
    drawing.draw(tmp_path / "cell.png", space, np.zeros(6, int))
    assert (tmp_path / "cell.png").read_bytes().startswith(b"\x89PNG")


def test_cells_of_darts_are_drawn_beside_each_other(tmp_path):
    space = search_spaces.make_space("darts")
    normal, reduction = space.graph(darts.NAMED["DARTS_V2"])
    assert (normal.title, reduction.title) == ("normal cell", "reduction cell")
    assert normal.graph.nodes == ("c_{k-2}", "c_{k-1}", "0", "1", "2", "3", "c_{k}")
    assert normal.graph.edges[5:9] == ((0, 4, "skip"), (0, 5, "skip"), (2, 5, "dil conv 3x3"), (2, 6, ""))
    drawing.draw(tmp_path / "cells.png", space, darts.NAMED["DARTS_V2"], space.encode(darts.NAMED["DARTS_V2"]))
    picture = matplotlib.image.imread(tmp_path / "cells.png")[..., :3]
    is_pool = np.isclose(picture, np.array([0xBF, 0xE3, 0xD0]) / 255, atol=0.01).all(-1)
    middle = picture.shape[1] // 2
    assert is_pool[:, middle:].any() and not is_pool[:, :middle].any()  # only the reduction cell pools


def test_nothing_lies_on_anything_else():
    drawn = Graph(("a", "b", "c", "d"), tuple((s, t, "op") for s in range(4) for t in range(s + 1, 4)) * 2)
    places, routes = lay_out(drawn)
    assert [column for column, _ in places[:4]] == [0, 2, 4, 6] == [2 * column for column in columns_of(drawn)]
    assert all(
        [places[p][0] for p in route] == list(range(2 * s, 2 * t + 1))
        for (s, t, _), route in zip(drawn.edges, routes, strict=True)
    )
    for column in range(7):
        heights = sorted(y for own, y in places if own == column)
        assert (np.diff(heights) > 0.29).all()


def test_edges_do_not_cross_where_they_need_not():
    drawn = Graph(
        ("in", "1", "2", "3", "out"), ((0, 3, "a"), (0, 2, ""), (0, 1, ""), (3, 4, ""), (1, 4, ""), (2, 4, "b"))
    )
    places, routes = lay_out(drawn)
    links = {pair for route in routes for pair in itertools.pairwise(route)}
    for (a, b), (c, d) in itertools.product(links, links):
        if places[a][0] == places[c][0]:
            assert (places[a][1] - places[c][1]) * (places[b][1] - places[d][1]) >= 0


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("SuperConvK3BNRELU(3,48,2,1)SuperResIDWE2K7(48,32,2,40,2)@224", ["SuperConvK3BNRELU(3,48,2,1)", "SuperResIDWE2K7(48,32,2,40,2)", "@224"]),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", ["|none~0|+|none~0|none~1|+|", "none~0|none~1|none~2|"]),
        ("two words\nand three of them, longer than a line", ["two words", "and three of them, longer than", "a line"]),
    ],
)  # fmt: skip
def test_a_title_is_broken_where_a_part_of_an_architecture_ends(text, lines):
    assert drawing._wrapped(text, 30).split("\n") == lines
