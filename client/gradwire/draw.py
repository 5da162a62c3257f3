"""A graph as a picture: tidy layers, rounded boxes, curved arrows, in plain SVG.

    draw_graph([(0, "SumBackward0", "root"), (1, "x\\n(2, 3)", "leaf")], [(0, 1)])

Layers come from the longest path, the order within them from barycentres, and the places from least squares: each box
as near as can be to its neighbours, without overlap. The same graph gives the same picture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
SIZE = 13
CHAR = 0.61 * SIZE
LINE = 17
PAD_X, PAD_Y = 14, 8
GAP_X, GAP_Y = 22, 38
MARGIN = 28
SWEEPS = 12
SETTLE = 80
FILLS = {"root": ("#fff1d6", "#c77d0a"), "leaf": ("#e2f0ff", "#2f74c0"), "op": ("#f6f7f9", "#8d96a5")}
"""Fill and outline of each kind of box; unknown kinds look like ``op``."""


@dataclass(slots=True, eq=False)
class _Box:
    """A node, or a bend of an edge that passes through a layer."""

    lines: tuple[str, ...] = ()
    kind: str = ""
    layer: int = 0
    x: float = 0.0
    y: float = 0.0
    up: list[_Box] = field(default_factory=list)
    down: list[_Box] = field(default_factory=list)

    @property
    def width(self) -> float:
        return 2 * PAD_X + CHAR * max(map(len, self.lines)) if self.lines else 8.0

    @property
    def height(self) -> float:
        return 2 * PAD_Y + LINE * len(self.lines) if self.lines else 0.0


def draw_graph(
    nodes: Iterable[tuple[Hashable, str, str]],
    edges: Iterable[tuple[Hashable, Hashable]],
    title: str = "Backward graph",
) -> str:
    """An SVG of a directed acyclic graph, sources at the top.

    Args:
        nodes: id, label (lines separated by newlines) and kind: "root", "leaf" or "op".
        edges: pairs of ids, from and to.
        title: what screen readers and tooltips say.

    Raises:
        ValueError: an edge to no node, or a cycle.
    """
    boxes = {i: _Box(tuple(label.split("\n")) if label else (" ",), kind) for i, label, kind in nodes}
    links = []
    for a, b in dict.fromkeys(edges):
        if a not in boxes or b not in boxes:
            raise ValueError(f"an edge to no node: {a!r} -> {b!r}")
        links.append((boxes[a], boxes[b]))
    _layer(list(boxes.values()), links)
    paths = [_bend(a, b) for a, b in links]
    layers = _order([*boxes.values(), *(bend for path in paths for bend in path[1:-1])])
    _place(layers)
    return _svg(list(boxes.values()), paths, layers, title)


def _layer(boxes: list[_Box], links: list[tuple[_Box, _Box]]) -> None:
    """Each box below all that lead to it."""
    after = defaultdict(list)
    waiting = dict.fromkeys(boxes, 0)
    for a, b in links:
        after[a].append(b)
        waiting[b] += 1
    ready = [b for b in boxes if not waiting[b]]
    for box in ready:
        for b in after[box]:
            b.layer = max(b.layer, box.layer + 1)
            waiting[b] -= 1
            if not waiting[b]:
                ready.append(b)
    if len(ready) < len(boxes):
        raise ValueError("the graph has a cycle")


def _bend(a: _Box, b: _Box) -> list[_Box]:
    """The way of an edge: its ends, and a bend in every layer between."""
    path = [a, *(_Box(layer=n) for n in range(a.layer + 1, b.layer)), b]
    for over, under in zip(path, path[1:], strict=False):
        over.down.append(under)
        under.up.append(over)
    return path


def _order(boxes: list[_Box]) -> list[list[_Box]]:
    """The boxes of each layer from left to right, with few crossings."""
    layers: list[list[_Box]] = [[] for _ in range(1 + max((b.layer for b in boxes), default=0))]
    seen = set()
    stack = [b for b in reversed(boxes) if not b.layer]
    while stack:
        box = stack.pop()
        if box not in seen:
            seen.add(box)
            layers[box.layer].append(box)
            stack.extend(reversed(box.down))
    best, fewest = [list(layer) for layer in layers], _crossings(layers)
    for sweep in range(SWEEPS):
        downward = sweep % 2 == 0
        for layer in layers if downward else layers[::-1]:
            near = {box: _rank(box.up if downward else box.down, layers, i) for i, box in enumerate(layer)}
            layer.sort(key=near.__getitem__)
        crossings = _crossings(layers)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    return best


def _rank(neighbours: list[_Box], layers: list[list[_Box]], own: int) -> float:
    """Where the neighbours are on average, in the order of their layer."""
    return sum(layers[n.layer].index(n) for n in neighbours) / len(neighbours) if neighbours else own


def _crossings(layers: list[list[_Box]]) -> int:
    count = 0
    for upper, lower in zip(layers, layers[1:], strict=False):
        rank = {box: i for i, box in enumerate(lower)}
        ends = [rank[b] for box in upper for b in sorted(box.down, key=rank.__getitem__)]
        count += sum(a > b for i, a in enumerate(ends) for b in ends[i + 1 :])
    return count


def _place(layers: list[list[_Box]]) -> None:
    """Coordinates of the centres."""
    y = float(MARGIN)
    for layer in layers:
        tall = max((box.height for box in layer), default=0.0)
        for box in layer:
            box.y = y + tall / 2
        y += tall + GAP_Y
    spine = _spine(layers)
    for sweep in range(SETTLE):
        for layer in layers if sweep % 2 == 0 else layers[::-1]:
            _settle(layer, spine, first=sweep == 0)
    left = min((box.x - box.width / 2 for layer in layers for box in layer), default=0.0)
    for layer in layers:
        for box in layer:
            box.x += MARGIN - left


def _spine(layers: list[list[_Box]]) -> dict[_Box, _Box]:
    """For each box the one below it from which it goes on deepest: these are to stand straight under each other."""
    depth: dict[_Box, int] = {}
    deepest = {}
    for layer in layers[::-1]:
        for box in layer:
            if box.down:
                deepest[box] = max(box.down, key=depth.__getitem__)
            depth[box] = 1 + max((depth[b] for b in box.down), default=0)
    return deepest


def _settle(layer: Sequence[_Box], spine: dict[_Box, _Box], first: bool) -> None:
    """Move each box of a layer towards its neighbours above and below."""
    wishes, weights = [], []
    for box in layer:
        pulls = [(n.x, _pull(n, box, spine)) for n in box.up]
        if not first:
            pulls += [(n.x, _pull(box, n, spine)) for n in box.down]
        weight = sum(w for _, w in pulls)
        wishes.append(sum(x * w for x, w in pulls) / weight if pulls else box.x)
        weights.append(weight or 1.0)
    gaps = [(a.width + b.width) / 2 + GAP_X for a, b in zip(layer, layer[1:], strict=False)]
    for box, x in zip(layer, _apart(wishes, weights, gaps), strict=True):
        box.x = x


def _pull(over: _Box, under: _Box, spine: dict[_Box, _Box]) -> float:
    """How much an edge wants to be vertical: long ways most, then the spine, leaves least."""
    if not over.lines and not under.lines:
        return 12.0
    if spine[over] is under:
        return 40.0 if under.down else 2.0
    return 1.0 if under.down else 0.4


def _apart(wishes: Sequence[float], weights: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """Places nearest to the wishes, each at least its gap behind the last: isotonic least squares, by pooling."""
    offsets = [0.0]
    for gap in gaps:
        offsets.append(offsets[-1] + gap)
    pools: list[tuple[float, float, int]] = []
    for wish, weight, offset in zip(wishes, weights, offsets, strict=False):
        pool = ((wish - offset) * weight, weight, 1)
        while pools and pools[-1][0] / pools[-1][1] >= pool[0] / pool[1]:
            total, heavy, n = pools.pop()
            pool = (total + pool[0], heavy + pool[1], n + pool[2])
        pools.append(pool)
    places = [total / weight for total, weight, n in pools for _ in range(n)]
    return [place + offset for place, offset in zip(places, offsets, strict=False)]


def _svg(boxes: list[_Box], paths: list[list[_Box]], layers: list[list[_Box]], title: str) -> str:
    everything = [box for layer in layers for box in layer]
    width = max((b.x + b.width / 2 for b in everything), default=0.0) + MARGIN
    height = max((b.y + b.height / 2 for b in everything), default=0.0) + MARGIN
    about = f"{len(boxes)} nodes, {len(paths)} edges"
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="t d" width="{width:.0f}" '
        f'height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" font-family="{FONT}" font-size="{SIZE}">',
        f'<title id="t">{escape(title)}</title><desc id="d">{about}</desc>',
        '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 .8 7.4 4 0 7.2 1.6 4Z" fill="#6b7482"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" rx="10" fill="#fff"/>',
        '<g fill="none" stroke="#6b7482" stroke-width="1.3">',
        *(f'<path d="{_curve(path)}" marker-end="url(#a)"/>' for path in paths),
        "</g>",
        *(_drawn(box) for box in boxes),
        "</svg>",
    ]
    return "\n".join(out) + "\n"


def _curve(path: list[_Box]) -> str:
    """A smooth line through the bends that leaves and arrives vertically."""
    start, *bends, end = path
    points = [
        (start.x + _port(path[1], start, start.down), start.y + start.height / 2),
        *((b.x, b.y) for b in bends),
        (end.x + _port(path[-2], end, end.up), end.y - end.height / 2 - 1),
    ]
    steer = [0.0]
    for (x0, y0), (x1, y1) in zip(points, points[2:], strict=False):
        steer.append((x1 - x0) / (y1 - y0))
    steer.append(0.0)
    d = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
    for i, ((x0, y0), (x1, y1)) in enumerate(zip(points, points[1:], strict=False)):
        h = 0.42 * (y1 - y0)
        d += f"C{x0 + steer[i] * h:.1f} {y0 + h:.1f} {x1 - steer[i + 1] * h:.1f} {y1 - h:.1f} {x1:.1f} {y1:.1f}"
    return d


def _port(to: _Box, box: _Box, side: list[_Box]) -> float:
    """Where along a box's side the edge to a neighbour is attached, from the middle: towards it, but not too near
    to another.
    """
    reach = 0.3 * box.width
    order = sorted(side, key=lambda b: b.x)
    # boxes that overlap meet half way, by a straight line
    wishes = [min(max((b.x - box.x) / (2 if b.lines else 1), -reach), reach) for b in order]
    weights = [1.0 if abs(w) == reach else 20.0 for w in wishes]
    gap = min(16.0, 2 * reach / len(order))
    return _apart(wishes, weights, [gap] * (len(order) - 1))[order.index(to)]


def _drawn(box: _Box) -> str:
    fill, line = FILLS.get(box.kind, FILLS["op"])
    left, top = box.x - box.width / 2, box.y - box.height / 2
    rows = "".join(
        f'<tspan x="{box.x:.1f}" y="{top + PAD_Y + LINE * i + 0.74 * LINE:.1f}"'
        f'{"" if i == 0 else f" fill={chr(34)}#5b6472{chr(34)} font-size={chr(34)}{SIZE - 2}{chr(34)}"}>'
        f"{escape(text)}</tspan>"
        for i, text in enumerate(box.lines)
    )
    return (
        f'<g><title>{escape(" ".join(box.lines))}</title>'
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="7" '
        f'fill="{fill}" stroke="{line}" stroke-width="1.3"/>'
        f'<text text-anchor="middle" fill="#1d2430">{rows}</text></g>'
    )
