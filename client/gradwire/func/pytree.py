"""Nested tuples, lists and dicts, taken apart into their leaves and put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def is_node(tree: Any) -> bool:
    return isinstance(tree, (tuple, list, dict))


def leaves(tree: Any) -> list[Any]:
    """What is in a tree, from left to right; a tree that is none of tuple, list and dict is its own leaf."""
    if isinstance(tree, dict):
        return [leaf for v in tree.values() for leaf in leaves(v)]
    if isinstance(tree, (tuple, list)):
        return [leaf for v in tree for leaf in leaves(v)]
    return [tree]


def build(tree: Any, values: Iterator[Any]) -> Any:
    """A tree like ``tree`` whose leaves are the next of ``values``."""
    if isinstance(tree, dict):
        made = {k: build(v, values) for k, v in tree.items()}
        return made if type(tree) is dict else type(tree)(made)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*[build(v, values) for v in tree])
    if isinstance(tree, (tuple, list)):
        return type(tree)([build(v, values) for v in tree])
    return next(values)


def tree_map(f: Callable[[Any], Any], tree: Any) -> Any:
    """A tree like ``tree`` of what ``f`` makes of its leaves."""
    return build(tree, iter([f(v) for v in leaves(tree)]))


def same_shape(a: Any, b: Any) -> bool:
    """Whether two trees differ in their leaves alone."""
    if not is_node(a) or not is_node(b):
        return is_node(a) == is_node(b)
    if type(a) is not type(b) or len(a) != len(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same_shape(a[k], b[k]) for k in a)
    return all(same_shape(x, y) for x, y in zip(a, b, strict=True))


def broadcast(prefix: Any, tree: Any) -> list[Any] | None:
    """One value for each leaf of ``tree``, from a tree that may stop early; None where it doesn't fit."""
    if not is_node(prefix):
        return [prefix] * len(leaves(tree))
    if not is_node(tree) or type(prefix) is not type(tree) or len(prefix) != len(tree):
        return None
    if isinstance(tree, dict):
        if set(prefix) != set(tree):
            return None
        pairs = [(prefix[k], tree[k]) for k in tree]
    else:
        pairs = list(zip(prefix, tree, strict=True))
    found: list[Any] = []
    for p, t in pairs:
        part = broadcast(p, t)
        if part is None:
            return None
        found += part
    return found
