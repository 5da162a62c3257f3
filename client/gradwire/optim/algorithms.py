"""The optimizers: each names its options, checks them as torch does, and sends one op a group."""

from __future__ import annotations

from typing import Any

from gradwire.dispatch import ops
from gradwire.optim.optimizer import Optimizer, Params
from gradwire.tensor import Tensor

Group = dict[str, Any]
State = dict[str, list[Tensor]]


def _check(lr: float | Tensor, fused: bool | None = None, foreach: bool | None = None, **options: Any) -> None:
    """Refuse what is negative; names are those of torch's errors."""
    if isinstance(lr, Tensor):
        if lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
    elif lr < 0.0:
        raise ValueError(f"Invalid learning rate: {lr}")
    for name, value in options.items():
        if value < 0:
            raise ValueError(f"Invalid {name} value: {value}")
    if fused and foreach:
        raise RuntimeError("`fused` and `foreach` cannot be `True` together.")


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum if asked."""

    counts = False

    def __init__(self, params: Params, lr: float | Tensor = 1e-3, momentum: float = 0, dampening: float = 0,
                 weight_decay: float = 0, nesterov: bool = False, *, maximize: bool = False,
                 foreach: bool | None = None, differentiable: bool = False, fused: bool | None = None):  # fmt: skip
        _check(lr, fused, foreach, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
            "maximize": maximize, "foreach": foreach, "differentiable": differentiable, "fused": fused,
        })  # fmt: skip

    def _buffers(self, group: Group) -> list[tuple[str, float]]:
        return [("momentum_buffer", 0)] if group["momentum"] else []

    def _update(self, params: list[Tensor], state: State, steps: Tensor, group: Group) -> None:
        ops.sgd_(params, state["momentum_buffer"], steps, group["lr"], group["momentum"], group["dampening"],
                 group["weight_decay"], group["nesterov"], group["maximize"])  # fmt: skip


class Adam(Optimizer):
    """Adam, and AMSGrad if asked."""

    def __init__(self, params: Params, lr: float | Tensor = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0, amsgrad: bool = False, *, foreach: bool | None = None,
                 maximize: bool = False, capturable: bool = False, differentiable: bool = False,
                 fused: bool | None = None, decoupled_weight_decay: bool = False):  # fmt: skip
        _check(lr, fused, foreach, epsilon=eps, weight_decay=weight_decay)
        for i, beta in enumerate(betas):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize, "foreach": foreach, "capturable": capturable, "differentiable": differentiable,
            "fused": fused, "decoupled_weight_decay": decoupled_weight_decay,
        })  # fmt: skip

    def _buffers(self, group: Group) -> list[tuple[str, float]]:
        names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
        return [(n, 0) for n in names[: 3 if group["amsgrad"] else 2]]

    def _update(self, params: list[Tensor], state: State, steps: Tensor, group: Group) -> None:
        beta1, beta2 = group["betas"]
        ops.adam_(params, state["exp_avg"], state["exp_avg_sq"], state["max_exp_avg_sq"], steps, group["lr"], beta1,
                  beta2, group["eps"], group["weight_decay"], group["decoupled_weight_decay"],
                  group["maximize"])  # fmt: skip


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameters themselves."""

    def __init__(self, params: Params, lr: float | Tensor = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False,
                 foreach: bool | None = None, capturable: bool = False, differentiable: bool = False,
                 fused: bool | None = None):  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize,
                         capturable=capturable, differentiable=differentiable, fused=fused,
                         decoupled_weight_decay=True)  # fmt: skip


class RMSprop(Optimizer):
    """RMSprop, with momentum and centred if asked."""

    def __init__(self, params: Params, lr: float | Tensor = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
                 weight_decay: float = 0, momentum: float = 0, centered: bool = False, capturable: bool = False,
                 foreach: bool | None = None, maximize: bool = False, differentiable: bool = False):  # fmt: skip
        _check(lr, epsilon=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable,
        })  # fmt: skip

    def _buffers(self, group: Group) -> list[tuple[str, float]]:
        made: list[tuple[str, float]] = [("square_avg", 0)]
        if group["momentum"] > 0:
            made.append(("momentum_buffer", 0))
        return [*made, ("grad_avg", 0)] if group["centered"] else made

    def _update(self, params: list[Tensor], state: State, steps: Tensor, group: Group) -> None:
        ops.rmsprop_(params, state["square_avg"], state["momentum_buffer"], state["grad_avg"], steps, group["lr"],
                     group["alpha"], group["eps"], group["weight_decay"], group["momentum"],
                     group["maximize"])  # fmt: skip


class Adagrad(Optimizer):
    """Adagrad."""

    def __init__(self, params: Params, lr: float | Tensor = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
                 initial_accumulator_value: float = 0, eps: float = 1e-10, foreach: bool | None = None, *,
                 maximize: bool = False, differentiable: bool = False, fused: bool | None = None):  # fmt: skip
        _check(lr, fused, foreach, lr_decay=lr_decay, weight_decay=weight_decay,
               initial_accumulator_value=initial_accumulator_value, epsilon=eps)  # fmt: skip
        super().__init__(params, {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "fused": fused,
        })  # fmt: skip

    def _buffers(self, group: Group) -> list[tuple[str, float]]:
        return [("sum", group["initial_accumulator_value"])]

    def _update(self, params: list[Tensor], state: State, steps: Tensor, group: Group) -> None:
        ops.adagrad_(params, state["sum"], steps, group["lr"], group["lr_decay"], group["weight_decay"], group["eps"],
                     group["maximize"])  # fmt: skip
