"""torch's words for what autograd refuses: said by the client where it can tell, by the server where only it can."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from gradwire_proto.dtypes import DType, bool_

LEAF_WRITTEN = "a leaf Variable that requires grad is being used in an in-place operation."
VIEW_OF_LEAF_WRITTEN = "a view of a leaf Variable that requires grad is being used in an in-place operation."
VIEW_WRITTEN = {
    "no_grad": (
        "Given that this use case is ambiguous and error-prone, it is forbidden. You can clarify your code by moving "
        "both the view and the inplace either both inside the no_grad block (if you don't want the inplace to be "
        "tracked) or both outside (if you want the inplace to be tracked)."
    ),
    "inference": (
        "Given that this use case is ambiguous and error-prone, it is forbidden. You can clarify your code by moving "
        "both the view and the inplace either both inside the inference_mode block (if you don't want the inplace to "
        "be tracked) or both outside (if you want the inplace to be tracked)."
    ),
    "multi": (
        "This view is the output of a function that returns multiple views. Such functions do not allow the output "
        "views to be modified inplace. You should replace the inplace operation by an out-of-place one."
    ),
    "custom": (
        "This view was created inside a custom Function (or because an input was returned as-is) and the autograd "
        "logic to handle view+inplace would override the custom backward associated with the custom Function, leading "
        "to incorrect gradients. This behavior is forbidden. You can fix this by cloning the output of the custom "
        "Function."
    ),
}
"""Why a view may not be written to, by how it was made."""
INFERENCE_SAVED = (
    "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode in "
    "computation tracked by autograd. To work around this, you can make a clone to get a normal tensor and use it in "
    "autograd, or use `torch.no_grad()` instead of `torch.inference_mode()`."
)
INFERENCE_WRITTEN = (
    "Inplace update to inference tensor outside InferenceMode is not allowed.You can make a clone to get a normal "
    "tensor before doing inplace update.See https://github.com/pytorch/rfcs/pull/17 for more details."
)
INFERENCE_REQUIRING_GRAD = (
    "Setting requires_grad=True on inference tensor outside InferenceMode is not allowed."
)
VIEW_DETACHED = (
    "Can't detach views in-place. Use detach() instead. If you are using DistributedDataParallel (DDP) for training, "
    "and gradient_as_bucket_view is set as True, gradients are views of DDP buckets, and hence detach_() cannot be "
    "called on these gradients. To fix this error, please refer to the Optimizer.zero_grad() function in "
    "torch/optim/optimizer.py as the solution."
)
FREED = (
    "Trying to backward through the graph a second time (or directly access saved tensors after they have already been "
    "freed). Saved intermediate values of the graph are freed when you call .backward() or autograd.grad(). Specify "
    "retain_graph=True if you need to backward through the graph a second time or if you need to access saved tensors "
    "after calling backward."
)
NOT_A_LEAF = (
    "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in a subgraph "
    "that doesn't require differentiation use var_no_grad = var.detach()."
)
OVERLAP = (
    "unsupported operation: some elements of the input tensor and the written-to tensor refer to a single memory "
    "location. Please clone() the tensor before performing the operation."
)
NOT_FLOATING = "only Tensors of floating point dtype can require gradients"
DATA_NOT_FLOATING = "data set to a tensor that requires gradients must be floating point or complex dtype"
NO_GRAD_HOOKED = "cannot register a hook on a tensor that doesn't require gradient"
NO_GRAD_RETAINED = "can't retain_grad on Tensor that has requires_grad=False"
NON_LEAF_POST_HOOKED = "post accumulate grad hooks cannot be registered on non-leaf tensors"
NOT_SCALAR = "grad can be implicitly created only for scalar outputs"
NO_GRAD_DIFFERENTIATED = "One of the differentiated Tensors does not require grad"

HINT = (
    "Hint: enable anomaly detection to find the operation that failed to compute its gradient, with "
    "torch.autograd.set_detect_anomaly(True, check_nan=False)."
)
HINT_ABOVE = (
    "Hint: the backtrace further above shows the operation that failed to compute its gradient. The variable in "
    "question was changed in there or anywhere later. Good luck!"
)
"""What takes its place in anomaly mode."""


def view_written(creation: str, node: str, output_nr: int, behind: bool = False) -> str:
    """What to say of a view that may not be written to.

    Args:
        creation: how it was made, a key of :data:`VIEW_WRITTEN`.
        node: the name of the node that made it, empty where there is none.
        behind: not it, but its base or another view of that was written to.
    """
    how = "its base or another view of its base has been" if behind else "is being"
    if creation == "inference":
        said = f"A view was created in inference mode and {how} modified inplace in normal mode."
    elif node and creation != "no_grad":
        said = f"Output {output_nr} of {_op(node)} is a view and {how} modified inplace."
    else:
        said = f"Output {output_nr} of {_op(node)} is a view of a view which was" if node else "A view was"
        said += f" created in no_grad mode and {how} modified inplace with grad mode enabled."
    return f"{said} {VIEW_WRITTEN[creation]}"


def modified(dtype: DType, shape: Any, node: str, output_nr: int, now: int, then: int) -> str:
    """``node`` is the name of the node that made it, empty for a leaf; the versions are the storage's."""
    origin = f", which is output {output_nr} of {_op(node)}," if node else ""
    kind = "CPUBoolType" if dtype is bool_ else f"torch.{dtype.legacy}Tensor"
    return (
        "one of the variables needed for gradient computation has been modified by an inplace operation: "
        f"[{kind} {list(shape)}]{origin} is at version {now}; expected version {then} instead. {HINT}"
    )


def not_a_number(node: str, output: int) -> str:
    return f"Function '{node}' returned nan values in its {output}th output."


def _op(node: str) -> str:
    """What a node is the derivative of, by its name."""
    return re.sub(r"Backward\d*$", "", node)


def no_history(i: int) -> str:
    return f"element {i} of tensors does not require grad and does not have a grad_fn"


def not_real(dtype: DType) -> str:
    return f"grad can be implicitly created only for real scalar outputs but got {dtype}"


def gradient_shape(i: int, gradient: Any, output: Any) -> str:
    return (
        f"Mismatch in shape: grad_output[{i}] has a shape of torch.Size({list(gradient)}) and output[{i}] has a shape "
        f"of torch.Size({list(output)})."
    )


def gradient_dtype(i: int, gradient: DType, output: DType) -> str:
    return (
        "For complex Tensors, both grad_output and output are required to have the same dtype. Mismatch in dtype: "
        f"grad_output[{i}] has a dtype of {gradient} and output[{i}] has a dtype of {output}."
    )


def gradient_count(tensors: int, gradients: int) -> str:
    return f"got {tensors} tensors and {gradients} gradients"


def assigned_shape(gradient: Any, tensor: Any) -> str:
    return (
        f"attempting to assign a gradient of size '{list(gradient)}' to a tensor of size '{list(tensor)}'. Please "
        "ensure that the gradient and the tensor are the same size"
    )


def unused(i: int) -> str:
    return (
        f"The differentiated Tensor at index {i} appears to not have been used in the graph. Set allow_unused=True if "
        "this is the desired behavior."
    )


def batched_shape(i: int, gradient: Any, output: Any) -> str:
    return (
        "If `is_grads_batched=True`, we interpret the first dimension of each grad_output as the batch dimension. The "
        "sizes of the remaining dimensions are expected to match the shape of corresponding output, but a mismatch was "
        f"detected: grad_output[{i}] has a shape of torch.Size({list(gradient)}) and output[{i}] has a shape of "
        f"torch.Size({list(output)}). If you only want some tensors in `grad_output` to be considered batched, "
        "consider using vmap."
    )


NO_ROWS = (
    "vmap(vjp, in_dims=0, ...)(<inputs>): Got in_dim=0 for some input, but that input is a Tensor of dimensionality 0 "
    "so expected in_dim to satisfy 0 <= in_dim < 0."
)


def vmap_sizes(sizes: Sequence[int]) -> str:
    return (
        f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes {list(sizes)} for the "
        "mapped dimension"
    )


def unbatched_target(what: str) -> str:
    return (
        f"vmap: {what}(self, *extra_args) is not possible because there exists a Tensor `other` in extra_args that has "
        "more elements than `self`. This happened due to `other` being vmapped over but `self` not being vmapped over "
        f"in a vmap. Please try to use out-of-place operators instead of {what}. If said operator is being called "
        "inside the PyTorch framework, please file a bug report instead."
    )


def dynamic_shape(op: str) -> str:
    return (
        f"vmap: We do not support batching operators that can output dynamic shape. Attempted to vmap over aten::{op}. "
        "Please file an issue at https://github.com/pytorch/pytorch/issues if you need this feature."
    )


BATCHED_MASK = (
    "vmap: We do not support batching operators that can support dynamic shape. Attempting to batch over indexing with "
    "a boolean mask."
)
BATCHED_SELECT = (
    "vmap: Attempted to vmap over `mask` in torch.masked_select(self, mask) We cannot support this because for each "
    "batch this would return a differently shaped Tensor. Please file an issue at "
    "https://github.com/pytorch/pytorch/issues if you need this feature."
)
