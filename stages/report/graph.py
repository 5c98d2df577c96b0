"""The pipeline's graph as SVG: the stages of all workloads collapsed, without the edges that others imply."""

import re
from pathlib import Path

import networkx as nx
from markupsafe import Markup, escape

from stages.core.errors import InputError

NODE, EDGE = re.compile(r'(node\d+)\["([^"]+)"\]'), re.compile(r"(node\d+)-->(node\d+)")
BOX, MARGIN = (118, 52), 4  # pixels
GAPS = {True: (34, 18), False: (30, 12)}  # between layers, and inside a layer: from left to right, and downwards


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
    edges = {(collapsed(names[before])[0], collapsed(names[after])[0]) for before, after in EDGE.findall(flowchart)}
    graph = nx.DiGraph((before, after) for before, after in sorted(edges) if before != after)
    if not edges or not nx.is_directed_acyclic_graph(graph):
        raise InputError(f"{path}: expected the flowchart that `dvc dag --md` prints")
    graph = nx.transitive_reduction(graph)
    for verb, workload in map(collapsed, names.values()):
        graph.add_node(verb)
        graph.nodes[verb].setdefault("workloads", []).append(workload)
    return graph


def draw(graph: nx.DiGraph, across: bool) -> Markup:
    """A layered drawing: each stage beyond all that it needs, from left to right (`across`) or downwards."""
    layers = [sorted(layer) for layer in nx.topological_generations(graph)]
    widest = max(map(len, layers))
    # Everything is placed along the arrows and beside them, and turned when it is written.
    (length, breadth), (gap, side_gap) = BOX if across else BOX[::-1], GAPS[across]
    corners = {
        name: (MARGIN + depth * (length + gap), MARGIN + (place + (widest - len(layer)) / 2) * (breadth + side_gap))
        for depth, layer in enumerate(layers)
        for place, name in enumerate(layer)
    }
    size = 2 * MARGIN + len(layers) * (length + gap) - gap, 2 * MARGIN + widest * (breadth + side_gap) - side_gap
    width, height = size if across else size[::-1]

    def at(along: float, beside: float) -> str:
        x, y = (along, beside) if across else (beside, along)
        return f"{x:g},{y:g}"

    style = "across" if across else "down"
    parts = [
        f'<svg class="graph {style}" role="img" aria-label="{escape(_words(graph))}" viewBox="0 0 {width} {height}">'
        f'<marker id="arrow-{style}" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0,0 8,4 0,8Z"/></marker>'
    ]
    for before, after in sorted(graph.edges):
        (start, side), (end, other_side) = corners[before], corners[after]
        start, side, other_side = start + length, side + breadth / 2, other_side + breadth / 2
        middle = (start + end) / 2
        curve = f"M{at(start, side)} C{at(middle, side)} {at(middle, other_side)} {at(end, other_side)}"
        parts.append(f'<path d="{curve}" marker-end="url(#arrow-{style})"/>')
    for name, corner in sorted(corners.items()):
        workloads = graph.nodes[name]["workloads"]
        items = f"{len(workloads)} workloads" if len(workloads) > 1 else workloads[0]
        parts.append(
            f'<g transform="translate({at(*corner)})">'
            f'<rect width="{BOX[0]}" height="{BOX[1]}" rx="8"/><g text-anchor="middle" font-size="11">'
            f'<text x="{BOX[0] / 2:g}" y="{22 if items else 31}" font-size="14" font-weight="600">{escape(name)}</text>'
            f'<text class="items" x="{BOX[0] / 2:g}" y="39">{escape(items)}</text></g></g>'
        )
    return Markup("".join([*parts, "</svg>"]))


def _words(graph: nx.DiGraph) -> str:
    order = [name for name in nx.lexicographical_topological_sort(graph) if graph[name]]
    edges = "; ".join(f"{name} before {', '.join(sorted(graph[name]))}" for name in order)
    return f"Graph of the pipeline's stages: {edges}."
