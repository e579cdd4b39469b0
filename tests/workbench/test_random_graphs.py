"""Random graphs: the thesis's own example of layers, directions, and as many edges as asked for."""

import networkx as nx
import numpy as np
import pytest

from labkit.workbench.random_graphs import FAMILIES, STATISTICS, any_graph, describe, layers_of, mask_of


def test_the_example_that_the_thesis_works_out():
    graph = nx.Graph([(0, 2), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4)])
    assert layers_of(graph) == [[0, 1], [2], [3], [4]]
    mask, widths = mask_of(graph)
    assert widths == [2, 1, 1, 1]
    assert [row.nonzero().flatten().tolist() for row in mask] == [[], [], [0, 1], [1, 2], [2, 3]]


@pytest.mark.parametrize("name", list(FAMILIES))
@pytest.mark.parametrize("nodes", [10, 19, 30])
def test_every_edge_is_in_the_mask_and_leads_to_a_later_layer(name, nodes):
    graph = FAMILIES[name](nodes, 3)
    assert nx.is_connected(graph)
    assert len(graph) == nodes
    mask, widths = mask_of(graph)
    layer = np.repeat(np.arange(len(widths)), widths)
    hears, heard = mask.nonzero(as_tuple=True)
    assert len(hears) == graph.number_of_edges()
    assert (layer[hears] > layer[heard]).all()
    assert all(mask[at].any() for at in range(widths[0], nodes)), "only the first layer hears nobody"
    assert nx.utils.graphs_equal(graph, FAMILIES[name](nodes, 3))


def test_scale_free_graphs_have_as_many_sources_as_each_new_node_has_edges():
    assert [len(layers_of(FAMILIES["scale-free"](nodes, 0))[0]) for nodes in (10, 20, 30)] == [1, 2, 3]


def test_any_graph_has_the_edges_that_were_asked_for():
    for edges in (9, 20, 45):
        graph = any_graph(10, edges, 1)
        assert (len(graph), graph.number_of_edges()) == (10, edges)
        assert nx.is_connected(graph)
    for edges in (8, 46):
        with pytest.raises(ValueError, match=f"not by {edges}"):
            any_graph(10, edges, 1)


def test_the_statistics_of_a_path_are_known():
    found = dict(zip(STATISTICS, describe(nx.path_graph(4)), strict=True))
    assert (found["layers"], found["nodes"], found["edges"], found["sources"], found["last layer"]) == (4, 4, 3, 1, 1)
    assert (found["diameter"], found["clustering"], found["density"]) == (3, 0, 0.5)
    assert found["path length"] == pytest.approx(10 / 6)
