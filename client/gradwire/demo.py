"""Trains a small convolutional network on real handwritten digits, every tensor and gradient on a gRPC server.

    gradwire demo              # against an embedded server
    GRADWIRE_TARGET=host:50051 gradwire demo --metrics http://host:9464/metrics
"""

from __future__ import annotations

import argparse
import re
import sys
import time
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import gradwire as torch
from gradwire import embedded
from gradwire.draw import draw_graph

F: Any = torch.nn.functional  # type: ignore[attr-defined]


def digits(seed: int) -> tuple[np.ndarray[Any, Any], ...]:
    """scikit-learn's bundled digits, 8 x 8 pixels, in training and held-back images and labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = (data.images / 16.0).astype("f4")[:, None]
    order = np.random.default_rng(seed).permutation(len(images))
    images, labels = images[order], data.target[order]
    cut = len(images) * 4 // 5
    return images[:cut], labels[:cut], images[cut:], labels[cut:]


def parameters(rng: np.random.Generator) -> dict[str, Any]:
    """The network's parameters, scaled by fan-in (He et al., ICCV 2015)."""
    shapes = {"conv1.weight": (16, 1, 3, 3), "conv1.bias": (16,), "conv2.weight": (32, 16, 3, 3), "conv2.bias": (32,),
              "linear.weight": (10, 128), "linear.bias": (10,)}  # fmt: skip
    made = {}
    for name, shape in shapes.items():
        scale = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.0
        values = (rng.standard_normal(shape) * scale).astype("f4")
        made[name] = torch.tensor(values, requires_grad=True)  # type: ignore[attr-defined]
    return made


def network(p: dict[str, Any], x: Any) -> Any:
    """Two convolutions with pooling, then a linear layer: logits of shape [images, 10]."""
    x = F.max_pool2d(F.relu(F.conv2d(x, p["conv1.weight"], p["conv1.bias"], padding=1)), 2)
    x = F.max_pool2d(F.relu(F.conv2d(x, p["conv2.weight"], p["conv2.bias"], padding=1)), 2)
    return F.linear(x.flatten(1), p["linear.weight"], p["linear.bias"])


def train(p: dict[str, Any], images: Any, labels: Any, epochs: int, batch: int, seed: int, console: Console) -> None:
    """Adam on the cross-entropy; the losses of an epoch come back together at its end."""
    optimizer = torch.optim.Adam(p.values(), lr=3e-3)  # type: ignore[attr-defined]
    rng = np.random.default_rng(seed)
    columns = (TextColumn("epoch"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.fields[shown]}"),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("train", total=epochs, shown="")
        for epoch in range(1, epochs + 1):
            losses, right = [], []
            order = torch.tensor(rng.permutation(len(images)))  # type: ignore[attr-defined]
            for start in range(0, len(images) - batch + 1, batch):
                chosen = order[start : start + batch]
                x, y = images[chosen], labels[chosen]
                logits = network(p, x)
                loss = F.cross_entropy(logits, y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
                right.append((logits.detach().argmax(1) == y).sum())
            mean = torch.stack(losses).mean().item()  # type: ignore[attr-defined]
            accuracy = torch.stack(right).sum().item() / (len(right) * batch)  # type: ignore[attr-defined]
            shown = f"loss {mean:.4f}  train accuracy {accuracy:.4f}"
            progress.update(bar, advance=1, shown=shown)
            if not console.is_terminal:
                console.print(f"epoch {epoch:2d}/{epochs}  {shown}")


def slowest_kernels(url: str, count: int = 8) -> Table:
    """The kernels that took longest in all, as the server's metrics tell."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    totals: defaultdict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for field, op, phase, value in re.findall(
        r'^gradwire_kernel_seconds_(sum|count)\{device="[^"]*",op="([^"]*)",phase="([^"]*)"\} (\S+)$', text, re.M
    ):
        totals[op, phase][field] = float(value)
    table = Table("kernel", "phase", "runs", "total", "mean", title="Slowest kernels")
    for (op, phase), t in sorted(totals.items(), key=lambda row: -row[1]["sum"])[:count]:
        mean = t["sum"] / t["count"]
        table.add_row(op, phase, f"{t['count']:.0f}", f"{t['sum'] * 1e3:.1f} ms", f"{mean * 1e6:.1f} us")
    return table


def picture(loss: Any, names: dict[int, str]) -> str:
    """The graph behind a loss as an SVG, leaves by their names."""
    root = loss.grad_fn
    nodes, edges, todo, seen = [], [], [root], set()
    while todo:
        fn = todo.pop()
        if fn in seen:
            continue
        seen.add(fn)
        label, kind = fn.name().removesuffix("0").removesuffix("Backward"), "root" if fn is root else "op"
        if fn.name().endswith("AccumulateGrad"):
            leaf = fn.variable
            label, kind = f"{names.get(id(leaf), 'leaf')}\n{tuple(leaf.shape)}", "leaf"
        nodes.append((hash(fn), label, kind))
        for following, _ in fn.next_functions:
            if following is not None:
                edges.append((hash(fn), hash(following)))
                todo.append(following)
    return draw_graph(nodes, edges, title="How the loss was made")


def main(argv: list[str] | None = None) -> int:
    o = argparse.ArgumentParser(prog="gradwire demo", description="Train a classifier on handwritten digits.")
    o.add_argument("--epochs", type=int, default=12)
    o.add_argument("--batch", type=int, default=64)
    o.add_argument("--seed", type=int, default=0)
    o.add_argument("--svg", type=Path, default=Path("loss.svg"), help="where the picture of the loss's graph goes")
    o.add_argument("--metrics", default="", help="URL of the server's metrics, where it is not the embedded one")
    options = o.parse_args(argv)
    console = Console()
    began = time.perf_counter()
    train_x, train_y, test_x, test_y = digits(options.seed)
    session = torch.connect()
    console.print(f"{len(train_x)} images to train on, {len(test_x)} held back; tensors live on {session.target}")
    images, labels = torch.tensor(train_x), torch.tensor(train_y)  # type: ignore[attr-defined]
    p = parameters(np.random.default_rng(options.seed))
    train(p, images, labels, options.epochs, options.batch, options.seed, console)
    with torch.no_grad():
        guesses = network(p, torch.tensor(test_x)).argmax(1).numpy()  # type: ignore[attr-defined]
    url = options.metrics or embedded.metrics_url
    if url:
        console.print(slowest_kernels(url))
    loss = F.cross_entropy(network(p, images[:4]), labels[:4])
    options.svg.write_text(picture(loss, {id(t): name for name, t in p.items()}))
    console.print(f"picture of the loss's graph: {options.svg}")
    console.print(f"test accuracy {(guesses == test_y).mean():.4f} in {time.perf_counter() - began:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
