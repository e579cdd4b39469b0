"""Random graphs that become networks: drawn, given a direction, put into layers, and described in numbers.

An undirected graph is drawn; every edge then leads from the node with the lower number to the one with the higher, so that there
is no way back; and the layer of a node is the number of edges of the longest way that leads to it:

    layer(v) = 0 where nothing leads to v,        else 1 + max of layer(u) over all u with an edge u -> v

Nodes of layer 0 are the sources. An edge may leap over layers.

Source: "Investigating Sparsity in Recurrent Neural Networks" (P074), the sizes and the layering as in its published code, after
J. Stier and M. Granitzer, "Structural analysis of sparse neural networks" (2019). The graphs: D. Watts and S. Strogatz,
"Collective dynamics of small-world networks" (1998), and A.-L. Barabasi and R. Albert, "Emergence of scaling in random networks"
(1999), both drawn by networkx. The statistics are the thesis's but for the clustering, which is ours.
"""

import random
import statistics
from collections.abc import Callable

import networkx as nx
import numpy as np
import torch
from torch import Tensor


def small_world(nodes: int, seed: int) -> nx.Graph:
    """A ring in which everyone knows a fifth of the others, and then every edge gets another end: p = 1, as in the thesis."""
    return nx.connected_watts_strogatz_graph(nodes, nodes // 5, 1, 1000, seed=seed)


def scale_free(nodes: int, seed: int) -> nx.Graph:
    """Nodes come one after the other, each with a tenth as many edges as there will be nodes, to nodes with many edges rather.

    The first of them gets its edges to nodes that have none, and these are the sources: as many as in the thesis's tables.
    """
    many = nodes // 10
    first = nx.Graph()
    first.add_nodes_from(range(many))
    first.add_edges_from((node, many) for node in range(many))
    return nx.barabasi_albert_graph(nodes, many, seed=seed, initial_graph=first)


def any_graph(nodes: int, edges: int, seed: int) -> nx.Graph:
    """A connected graph with so many edges and no other order: a random tree, and any further edges.

    Raises: ValueError where so many edges cannot connect so many nodes, or have no room.
    """
    if not nodes - 1 <= edges <= nodes * (nodes - 1) // 2:
        raise ValueError(
            f"{nodes} nodes are connected by {nodes - 1} to {nodes * (nodes - 1) // 2} edges, not by {edges}."
        )
    graph, draw = nx.random_labeled_tree(nodes, seed=seed), random.Random(seed)
    free = sorted(nx.non_edges(graph))
    graph.add_edges_from(draw.sample(free, edges - graph.number_of_edges()))
    return graph


FAMILIES: dict[str, Callable[[int, int], nx.Graph]] = {"small-world": small_world, "scale-free": scale_free}


def layers_of(graph: nx.Graph) -> list[list[int]]:
    """The nodes of each layer, in order. Every edge leads to the higher number, and to a later layer."""
    depth: dict[int, int] = {}
    for node in sorted(graph):
        depth[node] = 1 + max((depth[one] for one in graph[node] if one < node), default=-1)
    return [[node for node in sorted(graph) if depth[node] == layer] for layer in range(1 + max(depth.values()))]


def mask_of(graph: nx.Graph) -> tuple[Tensor, list[int]]:
    """(nodes, nodes) of who hears (row) whom (column), nodes in the order of their layers; and how wide the layers are."""
    layers = layers_of(graph)
    order = [node for layer in layers for node in layer]
    place = {node: at for at, node in enumerate(order)}
    mask = torch.zeros(len(order), len(order), dtype=torch.bool)
    for pair in graph.edges:
        mask[place[max(pair)], place[min(pair)]] = True
    return mask, [len(layer) for layer in layers]


STATISTICS = (
    "layers",
    "nodes",
    "edges",
    "sources",
    "last layer",
    "diameter",
    "density",
    "path length",
    "degree variance",
    "closeness",
    "closeness variance",
    "clustering",
    "betweenness",
    "betweenness variance",
)


def describe(graph: nx.Graph) -> np.ndarray:
    """The statistics in their order. "last layer" is its number of nodes; all from "diameter" on are of the undirected graph."""
    layers = layers_of(graph)
    degree, closeness = list(nx.degree_centrality(graph).values()), list(nx.closeness_centrality(graph).values())
    between = list(nx.betweenness_centrality(graph).values())
    found = (
        len(layers),
        len(graph),
        graph.number_of_edges(),
        len(layers[0]),
        len(layers[-1]),
        nx.diameter(graph),
        nx.density(graph),
        nx.average_shortest_path_length(graph),
        statistics.variance(degree),
        statistics.mean(closeness),
        statistics.variance(closeness),
        nx.average_clustering(graph),
        statistics.mean(between),
        statistics.variance(between),
    )
    return np.array(found, dtype=np.float64)
