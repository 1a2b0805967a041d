import matplotlib.image
import numpy as np
import pytest

from zsnas_jax import search_spaces
from zsnas_jax.graphs import Graph
from zsnas_jax.reports import drawing


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
    drawing.draw_graph(tmp_path / "cell.png", cell(space, arch), space.encode(arch))
    picture = matplotlib.image.imread(tmp_path / "cell.png")[..., :3]
    height, width = picture.shape[:2]
    inked = (picture < 0.95).any(-1)
    assert width > 600 and height > 150
    assert inked[:, : width // 4].any() and inked[:, -width // 4 :].any()
    assert np.isclose(picture, 0xE8 / 255, atol=0.01).all(-1).any()  # the boxes of input and output


def test_a_cell_without_edges_is_drawn_too(tmp_path):
    space = search_spaces.make_space("nasbench201")
    drawing.draw_graph(tmp_path / "cell.png", cell(space, np.zeros(6, int)))
    assert (tmp_path / "cell.png").read_bytes().startswith(b"\x89PNG")


def test_edges_between_neighbours_are_straight_and_others_go_around():
    drawn = Graph(("input", "1", "2", "output"), ((0, 1, ""), (1, 2, ""), (2, 3, ""), (0, 2, ""), (0, 3, "")))
    columns = drawing._columns(drawn)
    bends = drawing._bends(drawn, columns, drawing._positions(columns))
    assert columns == [0, 1, 2, 3] and bends[:3] == [0, 0, 0] and bends[3] > 0 > bends[4]
