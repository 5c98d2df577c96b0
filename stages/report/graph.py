"""The pipeline's graph as SVG: the stages of all workloads collapsed, without the edges that others imply."""

import re
from collections.abc import Sequence
from pathlib import Path

import networkx as nx
from markupsafe import Markup, escape

from stages.core.errors import InputError

NODE, EDGE = re.compile(r'(node\d+)\["([^"]+)"\]'), re.compile(r"(node\d+)-->(node\d+)")
BOX, GAP, MARGIN = (118, 52), (34, 18), 4  # pixels


def collapsed(name: str) -> tuple[str, str]:
    """The verb and the workload of a stage's name: `train@mnist` and `train-cartpole` are both `train`."""
    verb, _, workload = name.replace("-", "@").partition("@")
    return verb, workload


def read(path: Path) -> nx.DiGraph:
    """The collapsed graph of the stages in the Mermaid flowchart that `dvc dag --md` prints.

    Nodes are verbs with a list of `workloads`; an edge goes from a stage to one that needs its outputs.

    Raises:
        InputError: if the file is missing or no such flowchart.
    """
    try:
        flowchart = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `make graph` writes it") from None
    names = dict(NODE.findall(flowchart))
    graph = nx.DiGraph()
    for name in names.values():
        verb, workload = collapsed(name)
        graph.add_node(verb)
        graph.nodes[verb].setdefault("workloads", []).append(workload)
    edges = {(collapsed(names[before])[0], collapsed(names[after])[0]) for before, after in EDGE.findall(flowchart)}
    graph.add_edges_from((before, after) for before, after in sorted(edges) if before != after)
    if not edges or not nx.is_directed_acyclic_graph(graph):
        raise InputError(f"{path}: expected the flowchart that `dvc dag --md` prints")
    reduced = nx.transitive_reduction(graph)
    reduced.add_nodes_from(graph.nodes(data=True))
    return reduced


def draw(graph: nx.DiGraph, across: bool) -> Markup:
    """A layered drawing: each stage beyond all that it needs, from left to right (`across`) or downwards."""
    layers = [sorted(layer) for layer in nx.topological_generations(graph)]
    pitch = (BOX[0] + GAP[0], BOX[1] + GAP[1]) if across else (BOX[0] + 12, BOX[1] + 30)
    widest = max(map(len, layers))
    centres = {
        name: _centre(depth, place + (widest - len(layer)) / 2, pitch, across)
        for depth, layer in enumerate(layers)
        for place, name in enumerate(layer)
    }
    columns, rows = (len(layers), widest) if across else (widest, len(layers))
    width = 2 * MARGIN + columns * pitch[0] - (pitch[0] - BOX[0])
    height = 2 * MARGIN + rows * pitch[1] - (pitch[1] - BOX[1])
    style = "across" if across else "down"
    parts = [
        f'<svg class="graph {style}" role="img" aria-label="{escape(_words(graph))}" viewBox="0 0 {width} {height}">'
        f'<marker id="arrow-{style}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto">'
        '<path d="M0,0 8,4 0,8Z"/></marker>'
    ]
    parts += [_edge(centres[before], centres[after], across) for before, after in sorted(graph.edges)]
    for name, (x, y) in sorted(centres.items()):
        workloads = graph.nodes[name]["workloads"]
        items = f"{len(workloads)} workloads" if len(workloads) > 1 else workloads[0]
        parts.append(
            f'<g transform="translate({x - BOX[0] / 2:g},{y - BOX[1] / 2:g})">'
            f'<rect width="{BOX[0]}" height="{BOX[1]}" rx="8"/><g text-anchor="middle" font-size="11">'
            f'<text x="{BOX[0] / 2:g}" y="{22 if items else 31}" font-size="14" font-weight="600">{escape(name)}</text>'
            f'<text class="items" x="{BOX[0] / 2:g}" y="39">{escape(items)}</text></g></g>'
        )
    return Markup("".join([*parts, "</svg>"]))


def _centre(depth: int, place: float, pitch: Sequence[int], across: bool) -> tuple[float, float]:
    column, row = (depth, place) if across else (place, depth)
    return MARGIN + column * pitch[0] + BOX[0] / 2, MARGIN + row * pitch[1] + BOX[1] / 2


def _edge(start: tuple[float, float], end: tuple[float, float], across: bool) -> str:
    if across:
        (x1, y1), (x2, y2) = (start[0] + BOX[0] / 2, start[1]), (end[0] - BOX[0] / 2, end[1])
        middle = f"{(x1 + x2) / 2:g},{y1:g} {(x1 + x2) / 2:g},{y2:g}"
    else:
        (x1, y1), (x2, y2) = (start[0], start[1] + BOX[1] / 2), (end[0], end[1] - BOX[1] / 2)
        middle = f"{x1:g},{(y1 + y2) / 2:g} {x2:g},{(y1 + y2) / 2:g}"
    arrow = "across" if across else "down"
    return f'<path d="M{x1:g},{y1:g} C{middle} {x2:g},{y2:g}" marker-end="url(#arrow-{arrow})"/>'


def _words(graph: nx.DiGraph) -> str:
    order = [name for name in nx.lexicographical_topological_sort(graph) if graph[name]]
    edges = "; ".join(f"{name} before {', '.join(sorted(graph[name]))}" for name in order)
    return f"Graph of the pipeline's stages: {edges}."
