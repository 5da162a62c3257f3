"""Makes layers without parameters out of a line each: constructor, function, and what is shown."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from gradwire.nn import functional as F
from gradwire.nn.module import Module


def declared(text: str) -> tuple[str, inspect.Signature]:
    """The name and the signature in ``"Name(a, b=1)"``."""
    name, _, arguments = text.partition("(")
    (made,) = ast.parse(f"def f(self, {arguments}: pass").body
    assert isinstance(made, ast.FunctionDef)
    a = made.args
    defaults = [inspect.Parameter.empty] * (len(a.args) - len(a.defaults)) + [ast.literal_eval(d) for d in a.defaults]
    parameters = [inspect.Parameter(p.arg, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=d)
                  for p, d in zip(a.args, defaults, strict=True)]  # fmt: skip
    parameters += [inspect.Parameter(p.arg, inspect.Parameter.KEYWORD_ONLY, default=ast.literal_eval(d))
                   for p, d in zip(a.kwonlyargs, a.kw_defaults, strict=True) if d is not None]  # fmt: skip
    return name, inspect.Signature(parameters)


def _refusal(told: inspect.Signature, args: tuple[Any, ...], text: str) -> str:
    """What Python says of arguments that don't fit, where :mod:`inspect` says it otherwise."""
    if text.startswith("missing a required argument"):
        return text.replace("missing a required argument", "missing 1 required positional argument")
    if text == "too many positional arguments":
        takes = [p.default for p in told.parameters.values() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        least, most = takes.count(inspect.Parameter.empty), len(takes)
        shown = f"from {least} to {most}" if least < most else most
        return f"takes {shown} positional argument{'s' * (most > 1)} but {len(args) + 1} were given"
    return text


def with_constructor(name: str, told: inspect.Signature, bases: tuple[type, ...], doc: str,
                     start: Callable[[Any, dict[str, Any]], None], members: dict[str, Any]) -> type:  # fmt: skip
    """A class whose constructor has the signature, and calls ``start(self, arguments)`` with what it was given."""

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            bound = told.bind(self, *args, **kwargs)
        except TypeError as e:
            raise TypeError(f"{name}.__init__() {_refusal(told, args, str(e))}") from None
        bound.apply_defaults()
        given = dict(bound.arguments)
        del given["self"]
        Module.__init__(self)
        start(self, given)

    init.__signature__ = told  # type: ignore[attr-defined]
    init.__name__, init.__qualname__ = "__init__", f"{name}.__init__"
    return type(name, bases, {"__init__": init, "__doc__": doc, "__module__": "gradwire.nn", **members})


def named_inputs(layer: str, run: Callable[..., Any], own: Iterable[str], named: dict[str, Any]) -> dict[str, Any]:
    """Inputs of a layer that are given by the names that its function has for them.

    Raises:
        TypeError: there is none of that name, or it is the layer's own.
    """
    for n in named:
        if n in own or n in ("training", "inplace") or n not in inspect.signature(run).parameters:
            raise TypeError(f"{layer}.forward() got an unexpected keyword argument '{n}'")
    return named


def layer(text: str, function: str, shown: str = "", *, fill: Callable[[dict[str, Any]], None] = lambda given: None,
          buffers: tuple[str, ...] = ()) -> type:  # fmt: skip
    """A layer that only calls a function.

    Args:
        text: the constructor, as torch has it.
        function: of ``nn.functional``, which takes the constructor's arguments by name.
        shown: of the arguments in the layer's repr: ``"dim={dim}"``; a True ``inplace`` is added by itself.
        fill: completes arguments that follow from others.
        buffers: arguments that are tensors.
    """
    name, told = declared(text)
    names = [p for p in told.parameters if p != "self"]
    run = getattr(F, function)
    takes = inspect.signature(run).parameters
    trains = "training" in takes

    def start(self: Any, given: dict[str, Any]) -> None:
        fill(given)
        for b in buffers:
            self.register_buffer(b, given.pop(b))
        self.__dict__.update(given)

    def forward(self: Any, *inputs: Any, **named: Any) -> Any:
        kwargs = {**named_inputs(name, run, names, named), **{n: getattr(self, n) for n in names}}
        if trains:
            kwargs["training"] = self.training
        return run(*inputs, **kwargs)

    def extra_repr(self: Any) -> str:
        told = [shown.format(**{n: getattr(self, n) for n in names})] if shown else []
        if getattr(self, "inplace", False) and "{inplace" not in shown:
            told.append("inplace=True")
        return ", ".join(told)

    members = {"forward": forward, "extra_repr": extra_repr}
    return with_constructor(name, told, (Module,), f"A layer of :func:`gradwire.nn.functional.{function}`.",
                            start, members)  # fmt: skip


def layers(rows: Iterable[tuple[str, ...]]) -> dict[str, type]:
    """Several, by name."""
    made = [layer(*row) for row in rows]
    return {c.__name__: c for c in made}


__all__ = ["declared", "layer", "layers", "named_inputs", "with_constructor"]
