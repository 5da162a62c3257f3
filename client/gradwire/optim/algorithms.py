"""The optimizers whose step is one op a group: each names its options, checks them as torch does, and sends the op."""

from __future__ import annotations

from gradwire.autograd.grad_mode import no_grad
from gradwire.capture.record import paused
from gradwire.dispatch import ops
from gradwire.optim.fused import Fused, Group, State
from gradwire.optim.optimizer import Params, check
from gradwire.tensor import Tensor

Betas = tuple[float, float]
Buffers = list[tuple[str, float]]


class SGD(Fused):
    """Stochastic gradient descent, with momentum if asked."""

    counts = False

    def __init__(self, params: Params, lr: float | Tensor = 1e-3, momentum: float = 0, dampening: float = 0,
                 weight_decay: float = 0, nesterov: bool = False, *, maximize: bool = False,
                 foreach: bool | None = None, differentiable: bool = False, fused: bool | None = None):  # fmt: skip
        check(lr, momentum=momentum, weight_decay=weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
            "maximize": maximize, "foreach": foreach, "differentiable": differentiable, "fused": fused,
        })  # fmt: skip

    def _buffers(self, group: Group) -> Buffers:
        return [("momentum_buffer", 0)] if group["momentum"] else []

    def _update(self, params: list[Tensor], state: State, steps: Tensor, group: Group) -> None:
        ops.sgd_(params, state["momentum_buffer"], steps, group["lr"], group["momentum"], group["dampening"],
                 group["weight_decay"], group["nesterov"], group["maximize"])  # fmt: skip


class Adam(Fused):
    """Adam, and AMSGrad if asked."""

    def __init__(self, params: Params, lr: float | Tensor = 1e-3, betas: Betas = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, amsgrad: bool = False, *, foreach: bool | None = None,
                 maximize: bool = False, capturable: bool = False, differentiable: bool = False,
                 fused: bool | None = None, decoupled_weight_decay: bool = False):  # fmt: skip
        if isinstance(lr, Tensor) and foreach and not capturable:
            raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
        check(lr, betas, epsilon=eps, weight_decay=weight_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "maximize": maximize, "foreach": foreach, "capturable": capturable, "differentiable": differentiable,
            "fused": fused, "decoupled_weight_decay": decoupled_weight_decay,
        })  # fmt: skip

    def _buffers(self, group: Group) -> Buffers:
        names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
        return [(n, 0) for n in names[: 3 if group["amsgrad"] else 2]]

    def _update(self, params: list[Tensor], state: State, steps: Tensor, group: Group) -> None:
        ops.adam_(params, state["exp_avg"], state["exp_avg_sq"], state["max_exp_avg_sq"], steps, group["lr"],
                  *group["betas"], group["eps"], group["weight_decay"], group["decoupled_weight_decay"],
                  group["maximize"])  # fmt: skip


class AdamW(Adam):
    """Adam whose weight decay shrinks the parameters themselves."""

    def __init__(self, params: Params, lr: float | Tensor = 1e-3, betas: Betas = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 1e-2, amsgrad: bool = False, *, maximize: bool = False,
                 foreach: bool | None = None, capturable: bool = False, differentiable: bool = False,
                 fused: bool | None = None):  # fmt: skip
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, foreach=foreach, maximize=maximize,
                         capturable=capturable, differentiable=differentiable, fused=fused,
                         decoupled_weight_decay=True)  # fmt: skip


class NAdam(Fused):
    """Adam with Nesterov's momentum, which grows over the steps."""

    numbers = ("mu_product",)

    def __init__(self, params: Params, lr: float | Tensor = 2e-3, betas: Betas = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, *,
                 foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
                 differentiable: bool = False):  # fmt: skip
        check(lr, betas, epsilon=eps, weight_decay=weight_decay, momentum_decay=momentum_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize, "foreach": foreach,
            "capturable": capturable, "differentiable": differentiable,
        })  # fmt: skip

    def _buffers(self, group: Group) -> Buffers:
        return [("mu_product", 1), ("exp_avg", 0), ("exp_avg_sq", 0)]

    def _update(self, params: list[Tensor], state: State, steps: Tensor, group: Group) -> None:
        ops.nadam_(params, state["exp_avg"], state["exp_avg_sq"], state["mu_product"], steps, group["lr"],
                   *group["betas"], group["eps"], group["weight_decay"], group["momentum_decay"],
                   group["decoupled_weight_decay"], group["maximize"])  # fmt: skip


class RAdam(Fused):
    """Adam whose first steps are of momentum alone, until the mean square is known well enough."""

    def __init__(self, params: Params, lr: float | Tensor = 1e-3, betas: Betas = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, decoupled_weight_decay: bool = False, *, foreach: bool | None = None,
                 maximize: bool = False, capturable: bool = False, differentiable: bool = False):  # fmt: skip
        check(lr, betas, epsilon=eps, weight_decay=weight_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "foreach": foreach, "capturable": capturable, "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable,
        })  # fmt: skip

    def _buffers(self, group: Group) -> Buffers:
        return [("exp_avg", 0), ("exp_avg_sq", 0)]

    def _update(self, params: list[Tensor], state: State, steps: Tensor, group: Group) -> None:
        ops.radam_(params, state["exp_avg"], state["exp_avg_sq"], steps, group["lr"], *group["betas"], group["eps"],
                   group["weight_decay"], group["decoupled_weight_decay"], group["maximize"])  # fmt: skip


class Adamax(Fused):
    """Adam with the largest of the decayed gradients in place of their mean square."""

    def __init__(self, params: Params, lr: float | Tensor = 2e-3, betas: Betas = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, foreach: bool | None = None, *, maximize: bool = False,
                 differentiable: bool = False, capturable: bool = False):  # fmt: skip
        check(lr, betas, epsilon=eps, weight_decay=weight_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        })  # fmt: skip

    def _buffers(self, group: Group) -> Buffers:
        return [("exp_avg", 0), ("exp_inf", 0)]

    def _update(self, params: list[Tensor], state: State, steps: Tensor, group: Group) -> None:
        ops.adamax_(params, state["exp_avg"], state["exp_inf"], steps, group["lr"], *group["betas"], group["eps"],
                    group["weight_decay"], group["maximize"])  # fmt: skip


class RMSprop(Fused):
    """RMSprop, with momentum and centred if asked."""

    def __init__(self, params: Params, lr: float | Tensor = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
                 weight_decay: float = 0, momentum: float = 0, centered: bool = False, capturable: bool = False,
                 foreach: bool | None = None, maximize: bool = False, differentiable: bool = False):  # fmt: skip
        check(lr, epsilon=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable,
        })  # fmt: skip

    def _buffers(self, group: Group) -> Buffers:
        made: Buffers = [("square_avg", 0)]
        if group["momentum"] > 0:
            made.append(("momentum_buffer", 0))
        return [*made, ("grad_avg", 0)] if group["centered"] else made

    def _update(self, params: list[Tensor], state: State, steps: Tensor, group: Group) -> None:
        ops.rmsprop_(params, state["square_avg"], state["momentum_buffer"], state["grad_avg"], steps, group["lr"],
                     group["alpha"], group["eps"], group["weight_decay"], group["momentum"],
                     group["maximize"])  # fmt: skip


class Adagrad(Fused):
    """Adagrad."""

    def __init__(self, params: Params, lr: float | Tensor = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
                 initial_accumulator_value: float = 0, eps: float = 1e-10, foreach: bool | None = None, *,
                 maximize: bool = False, differentiable: bool = False, fused: bool | None = None):  # fmt: skip
        check(lr, lr_decay=lr_decay, weight_decay=weight_decay,
              initial_accumulator_value=initial_accumulator_value, epsilon=eps)  # fmt: skip
        super().__init__(params, {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "fused": fused,
        })  # fmt: skip
        with no_grad(), paused():  # as torch, whose other optimizers make their state in the first step
            for i, group in enumerate(self.param_groups):
                self._fill(i, group["params"], self._buffers(group))

    def _buffers(self, group: Group) -> Buffers:
        return [("sum", group["initial_accumulator_value"])]

    def _update(self, params: list[Tensor], state: State, steps: Tensor, group: Group) -> None:
        ops.adagrad_(params, state["sum"], steps, group["lr"], group["lr_decay"], group["weight_decay"], group["eps"],
                     group["maximize"])  # fmt: skip


class Adadelta(Fused):
    """Adadelta, whose steps are as large as those before them were."""

    def __init__(self, params: Params, lr: float | Tensor = 1.0, rho: float = 0.9, eps: float = 1e-6,
                 weight_decay: float = 0, foreach: bool | None = None, *, capturable: bool = False,
                 maximize: bool = False, differentiable: bool = False):  # fmt: skip
        check(lr, rho=rho, epsilon=eps, weight_decay=weight_decay)
        if rho > 1:
            raise ValueError(f"Invalid rho value: {rho}")
        super().__init__(params, {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "capturable": capturable, "foreach": foreach, "differentiable": differentiable,
        })  # fmt: skip

    def _buffers(self, group: Group) -> Buffers:
        return [("square_avg", 0), ("acc_delta", 0)]

    def _update(self, params: list[Tensor], state: State, steps: Tensor, group: Group) -> None:
        ops.adadelta_(params, state["square_avg"], state["acc_delta"], steps, group["lr"], group["rho"], group["eps"],
                      group["weight_decay"], group["maximize"])  # fmt: skip


class ASGD(Fused):
    """Stochastic gradient descent with an average of the parameters, ``state[p]["ax"]``, from step ``t0`` on."""

    numbers = ("eta", "mu")

    def __init__(self, params: Params, lr: float | Tensor = 1e-2, lambd: float = 1e-4, alpha: float = 0.75,
                 t0: float = 1e6, weight_decay: float = 0, foreach: bool | None = None, maximize: bool = False,
                 differentiable: bool = False, capturable: bool = False):  # fmt: skip
        check(lr, weight_decay=weight_decay)
        super().__init__(params, {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        })  # fmt: skip

    def _buffers(self, group: Group) -> Buffers:
        return [("eta", 0), ("mu", 1), ("ax", 0)]  # the first step sets eta to the rate

    def _update(self, params: list[Tensor], state: State, steps: Tensor, group: Group) -> None:
        ops.asgd_(params, state["ax"], state["eta"], state["mu"], steps, group["lr"], group["lambd"], group["alpha"],
                  group["t0"], group["weight_decay"], group["maximize"])  # fmt: skip


class Rprop(Fused):
    """Resilient backpropagation: each number has a step size of its own, which the signs of gradients change."""

    def __init__(self, params: Params, lr: float | Tensor = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
                 step_sizes: tuple[float, float] = (1e-6, 50), *, capturable: bool = False,
                 foreach: bool | None = None, maximize: bool = False, differentiable: bool = False):  # fmt: skip
        check(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(params, {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "capturable": capturable,
        })  # fmt: skip

    def _buffers(self, group: Group) -> Buffers:
        return [("prev", 0), ("step_size", 0)]  # the first step sets the size to the rate

    def _update(self, params: list[Tensor], state: State, steps: Tensor, group: Group) -> None:
        ops.rprop_(params, state["prev"], state["step_size"], steps, group["lr"], *group["etas"],
                   *group["step_sizes"], group["maximize"])  # fmt: skip
