"""Optimizer updates: one op updates all parameters of a group in place, and the state that goes with them.

The gradients are the parameters' own ``.grad``; a parameter without one is left as it is. ``steps`` counts each
parameter's updates (int64), so that the whole state lives on the server and a captured program can go on from it.
Where a rule keeps single numbers of each parameter, they are tensors without dimensions.
"""

from __future__ import annotations

from typing import Any

from gradwire_proto.catalog.declare import Inferred, Op, op
from gradwire_proto.spec import Spec

NUMBERS = ("mu_products", "etas", "mus")
"""State that is one number a parameter."""


def _update(op: Op, params: tuple[Spec, ...], *args: Any) -> Inferred:
    for p, values in zip(op.params[1:], args, strict=True):
        if not p.writes:
            continue
        if p.name in NUMBERS:
            if [v.shape for v in values] != [()] * len(params):
                raise RuntimeError(f"{op.name}(): {p.name} must be as many as params, and without dimensions")
        elif p.is_list:
            if values and [v.shape for v in values] != [v.shape for v in params]:
                raise RuntimeError(f"{op.name}(): {p.name} must be as many as params and of the same shapes, or none")
        elif values.shape != (len(params),) or values.dtype.name != "int64":
            raise RuntimeError(f"{op.name}(): {p.name} must be an int64 tensor of shape [{len(params)}]")
    return Inferred(())


def _optimizer(signature: str, doc: str) -> None:
    op(signature, meta=_update, differentiable=False, public=False, method=False, doc=doc)


_optimizer(
    "sgd_(Tensor(a!)[] params, Tensor(b!)[] momentum_buffers, Tensor(c!) steps, Tensor|Scalar lr, float momentum=0.0, "
    "float dampening=0.0, float weight_decay=0.0, bool nesterov=False, bool maximize=False) -> ()",
    "A step of stochastic gradient descent, with momentum where there are buffers for it.",
)
_optimizer(
    "adam_(Tensor(a!)[] params, Tensor(b!)[] exp_avgs, Tensor(c!)[] exp_avg_sqs, Tensor(d!)[] max_exp_avg_sqs, "
    "Tensor(e!) steps, Tensor|Scalar lr, float beta1=0.9, float beta2=0.999, float eps=1e-08, float weight_decay=0.0, "
    "bool decoupled_weight_decay=False, bool maximize=False) -> ()",
    "A step of Adam, of AdamW where the weight decay is decoupled, of AMSGrad where there are maxima.",
)
_optimizer(
    "rmsprop_(Tensor(a!)[] params, Tensor(b!)[] square_avgs, Tensor(c!)[] momentum_buffers, Tensor(d!)[] grad_avgs, "
    "Tensor(e!) steps, Tensor|Scalar lr, float alpha=0.99, float eps=1e-08, float weight_decay=0.0, "
    "float momentum=0.0, bool maximize=False) -> ()",
    "A step of RMSprop, with momentum where there are buffers for it, centred where there are averages of gradients.",
)
_optimizer(
    "adagrad_(Tensor(a!)[] params, Tensor(b!)[] sums, Tensor(c!) steps, Tensor|Scalar lr, float lr_decay=0.0, "
    "float weight_decay=0.0, float eps=1e-10, bool maximize=False) -> ()",
    "A step of Adagrad.",
)
_optimizer(
    "adadelta_(Tensor(a!)[] params, Tensor(b!)[] square_avgs, Tensor(c!)[] acc_deltas, Tensor(d!) steps, "
    "Tensor|Scalar lr, float rho=0.9, float eps=1e-06, float weight_decay=0.0, bool maximize=False) -> ()",
    "A step of Adadelta.",
)
_optimizer(
    "adamax_(Tensor(a!)[] params, Tensor(b!)[] exp_avgs, Tensor(c!)[] exp_infs, Tensor(d!) steps, Tensor|Scalar lr, "
    "float beta1=0.9, float beta2=0.999, float eps=1e-08, float weight_decay=0.0, bool maximize=False) -> ()",
    "A step of Adamax: Adam with the largest of the decayed gradients in place of their mean square.",
)
_optimizer(
    "nadam_(Tensor(a!)[] params, Tensor(b!)[] exp_avgs, Tensor(c!)[] exp_avg_sqs, Tensor(d!)[] mu_products, "
    "Tensor(e!) steps, Tensor|Scalar lr, float beta1=0.9, float beta2=0.999, float eps=1e-08, float weight_decay=0.0, "
    "float momentum_decay=0.004, bool decoupled_weight_decay=False, bool maximize=False) -> ()",
    "A step of NAdam, Adam with Nesterov's momentum; mu_products start from one.",
)
_optimizer(
    "radam_(Tensor(a!)[] params, Tensor(b!)[] exp_avgs, Tensor(c!)[] exp_avg_sqs, Tensor(d!) steps, "
    "Tensor|Scalar lr, float beta1=0.9, float beta2=0.999, float eps=1e-08, float weight_decay=0.0, "
    "bool decoupled_weight_decay=False, bool maximize=False) -> ()",
    "A step of RAdam, whose first steps are of momentum alone, until the mean square is known well enough.",
)
_optimizer(
    "asgd_(Tensor(a!)[] params, Tensor(b!)[] axs, Tensor(c!)[] etas, Tensor(d!)[] mus, Tensor(e!) steps, "
    "Tensor|Scalar lr, float lambd=0.0001, float alpha=0.75, float t0=1000000.0, float weight_decay=0.0, "
    "bool maximize=False) -> ()",
    "A step of averaged stochastic gradient descent: axs are the averages; mus start from one.",
)
_optimizer(
    "rprop_(Tensor(a!)[] params, Tensor(b!)[] prevs, Tensor(c!)[] step_sizes, Tensor(d!) steps, Tensor|Scalar lr, "
    "float eta_minus=0.5, float eta_plus=1.2, float least=1e-06, float most=50.0, bool maximize=False) -> ()",
    "A step of resilient backpropagation: each number has a step size of its own, which the signs of gradients change.",
)
