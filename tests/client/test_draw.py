"""Graphs are drawn tidily: layers from top to bottom, no overlaps, valid and deterministic SVG."""

import re
import xml.etree.ElementTree as ET

import pytest

from gradwire.draw import draw_graph

SVG = "{http://www.w3.org/2000/svg}"
DIAMOND = (
    [("loss", "SumBackward0", "root"), ("mul", "MulBackward0", "op"), ("x", "x\n(2, 3)", "leaf"), ("e", "E<&", "op")],
    [("loss", "mul"), ("mul", "x"), ("loss", "e"), ("e", "x"), ("loss", "x")],
)


def rects(svg: str) -> dict[str, tuple[float, float, float, float]]:
    """Left, top, right and bottom of each box by its label's first line."""
    found = {}
    for g in ET.fromstring(svg).iter(f"{SVG}g"):
        rect, text = g.find(f"{SVG}rect"), g.find(f"{SVG}text")
        if rect is not None and text is not None:
            x, y, w, h = (float(rect.get(k, 0)) for k in ("x", "y", "width", "height"))
            found[text[0].text or ""] = (x, y, x + w, y + h)
    return found


def test_a_diamond():
    svg = draw_graph(*DIAMOND, title="of <loss>")
    boxes = rects(svg)
    assert set(boxes) == {"SumBackward0", "MulBackward0", "x", "E<&"}
    assert boxes["SumBackward0"][3] < boxes["MulBackward0"][1]
    assert boxes["MulBackward0"][3] < boxes["x"][1]
    root = ET.fromstring(svg)
    assert root.find(f"{SVG}title").text == "of <loss>"
    assert root.get("role") == "img"
    assert len(re.findall('marker-end="url', svg)) == 5
    assert "(2, 3)" in svg
    assert svg == draw_graph(*DIAMOND, title="of <loss>")


def test_nothing_overlaps_and_all_is_inside():
    n = 60
    nodes = [(i, f"Op{i:02}Backward0", "op") for i in range(n)]
    edges = [(i, j) for i in range(n) for j in (2 * i + 1, 2 * i + 2, i * i % 7 + i + 3) if j < n]
    svg = draw_graph(nodes, edges)
    boxes = list(rects(svg).values())
    assert len(boxes) == n
    width, height = (float(ET.fromstring(svg).get(k)) for k in ("width", "height"))
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        for other in boxes[i + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_a_chain_is_straight():
    svg = draw_graph([(i, "A" * (3 + i % 5) + str(i), "op") for i in range(9)], [(i, i + 1) for i in range(8)])
    middles = {round(left + right) for left, _, right, _ in rects(svg).values()}
    assert max(middles) - min(middles) <= 1


def test_nothing_and_one():
    ET.fromstring(draw_graph([], []))
    assert list(rects(draw_graph([(0, "x", "leaf")], []))) == ["x"]


@pytest.mark.parametrize(
    ("edges", "text"), [([(0, 1), (1, 0)], "cycle"), ([(0, 7)], "an edge to no node: 0 -> 7"), ([(0, 0)], "cycle")]
)
def test_what_cannot_be_drawn(edges, text):
    with pytest.raises(ValueError, match=text):
        draw_graph([(0, "a", "op"), (1, "b", "op")], edges)
