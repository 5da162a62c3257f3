"""``gradwire.Tensor``: a name for a tensor on the server, with all of torch's attributes that need no round trip.

Operators, methods and properties that are ops are bound to this class when the package is imported
(:mod:`gradwire.bind`); here is what makes a tensor a tensor.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from gradwire.capture import forbid, here, note
from gradwire.mirror import Node
from gradwire.types import Size, strided
from gradwire.types import device as Device
from gradwire.values import Values
from gradwire_proto import refusals
from gradwire_proto.catalog.arithmetic import CPP_NAME
from gradwire_proto.catalog.meta import wrap_dim
from gradwire_proto.codec import dtype_of
from gradwire_proto.dtypes import DType
from gradwire_proto.spec import Spec, spec

if TYPE_CHECKING:
    from gradwire.autograd.graph import Node as GradFn
    from gradwire.autograd.hooks import RemovableHandle
    from gradwire.session import Session

NONLEAF_GRAD = (
    "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. Its .grad attribute won't be "
    "populated during autograd.backward(). If you indeed want the .grad field to be populated for a non-leaf Tensor, "
    "use .retain_grad() on the non-leaf Tensor. If you access the non-leaf Tensor by mistake, make sure you access the "
    "leaf Tensor instead. See github.com/pytorch/pytorch/pull/30531 for more information."
)


class Storage:
    """What is known here of a tensor's memory: its size, how often it was written to, and whether a graph may have
    saved it."""

    __slots__ = ("nbytes", "used", "version")

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self.version = 0
        self.used = False

    inference = False
    """Whether inference mode made it, so that no graph may save it."""


class InferenceStorage(Storage):
    """Memory that inference mode made."""

    __slots__ = ()
    inference = True


inferred: list[bool] = []
"""Not empty once inference mode made anything: till then nobody looks for it."""


def infer(t: Tensor) -> Tensor:
    """Mark a tensor, with memory of its own, as made in inference mode."""
    t._storage = InferenceStorage(t._storage.nbytes)
    if not inferred:
        inferred.append(True)
    return t


class Tensor(Values):
    """A tensor of a session. Made by ops; dropped on the server when Python drops it."""

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_base",
        "_creation",
        "_generation",
        "_grad",
        "_grad_flag",
        "_grad_seen",
        "_id",
        "_leaf",
        "_node",
        "_offset",
        "_session",
        "_spec",
        "_storage",
    )
    _is_batched = False
    """Whether it stands for a batch, inside vmap."""
    __array_priority__ = 1000
    _session: Session
    _id: int
    _spec: Spec
    _grad_flag: bool | None
    """Whether it requires grad; None where only the server knows."""
    _node: Node | None
    _leaf: bool
    _storage: Storage
    _offset: int
    """Where in the storage it begins, in bytes."""
    _base: Tensor | None
    _generation: int
    """Of a base: how often in-place ops rewrote its history; of a view: when it last looked."""
    _creation: str
    """What keeps a view from being written to where that would be recorded."""
    _grad: Tensor | None
    _grad_seen: int
    """Which of its node's gradients ``_grad`` is."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """A tensor of the default type from sizes, numbers or another tensor."""
        if cls.__init__ is not object.__init__:
            return object.__new__(cls)  # it makes itself
        from gradwire.functions.typed import legacy

        return legacy(cls, None, args, kwargs)

    def __del__(self) -> None:
        try:
            self._session.drop(self._id, self._spec.nbytes)
        except AttributeError:
            pass  # it was never made whole

    # ---- what it is ----

    @property
    def shape(self) -> Size:
        return Size(self._spec.shape)

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension."""
        if dim is None:
            return self.shape
        return self._spec.shape[wrap_dim(dim, self._spec.ndim)]

    @property
    def dtype(self) -> DType:
        return self._spec.dtype

    @property
    def device(self) -> Device:
        return Device(self._session.device)

    @property
    def ndim(self) -> int:
        return self._spec.ndim

    def dim(self) -> int:
        return self._spec.ndim

    ndimension = dim

    def numel(self) -> int:
        return self._spec.numel

    nelement = numel

    def element_size(self) -> int:
        return self._spec.dtype.itemsize

    @property
    def itemsize(self) -> int:
        return self._spec.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return self._spec.nbytes

    def stride(self, dim: int | None = None) -> Any:
        """Steps between elements in memory, counted in elements."""
        return self._spec.strides if dim is None else self._spec.strides[wrap_dim(dim, self._spec.ndim)]

    def is_contiguous(self, memory_format: Any = None) -> bool:
        return self._spec.contiguous

    @property
    def is_leaf(self) -> bool:
        self._refresh()
        return self._leaf or not self.requires_grad

    @property
    def is_cuda(self) -> bool:
        return self._session.device.startswith("cuda")

    is_cpu = property(lambda self: not self.is_cuda)
    is_sparse = property(lambda self: False)
    is_meta = property(lambda self: False)
    is_quantized = property(lambda self: False)
    layout = property(lambda self: strided)

    def is_floating_point(self) -> bool:
        return self._spec.dtype.is_floating_point

    def is_complex(self) -> bool:
        return self._spec.dtype.is_complex

    def is_signed(self) -> bool:
        return self._spec.dtype.is_signed

    def is_conj(self) -> bool:
        return False

    is_neg = is_conj

    @property
    def _version(self) -> int:
        if self._storage.inference:
            raise RuntimeError("Inference tensors do not track version counter.")
        return self._storage.version

    def is_inference(self) -> bool:
        """Whether inference mode made it."""
        return self._storage.inference

    def _is_view(self) -> bool:
        return self._base is not None

    def __len__(self) -> int:
        if not self._spec.ndim:
            raise TypeError("len() of a 0-d tensor")
        return self._spec.shape[0]

    def __hash__(self) -> int:
        return id(self)

    def __copy__(self) -> Tensor:
        made: Tensor = self.detach()  # type: ignore[attr-defined]
        made._base = None
        return made.requires_grad_(self.requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if not self.is_leaf:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the "
                "moment.  If you were attempting to deepcopy a module, this may be because of a torch.nn.utils."
                "weight_norm usage, see https://github.com/pytorch/pytorch/pull/103001"
            )
        made: Tensor = self.detach().clone().requires_grad_(self.requires_grad)
        if self.grad is not None:
            made.grad = copy.deepcopy(self.grad)
        made.__dict__.update(copy.deepcopy(self.__dict__, memo))
        memo[id(self)] = made
        return made

    def __reduce__(self) -> Any:
        raise TypeError("a tensor lives in its session: use gradwire.save, or send tensor.detach().numpy() instead")

    # ---- its place in the graph ----

    def _refresh(self) -> None:
        """Of a view: take over what in-place ops made of the base's history."""
        base = self._base
        if base is not None and base._base is not None:  # the base became a view of what it was
            base = self._base = base._base
        if base is not None and self._generation != base._generation:
            if self._creation and base._grad_flag is not False:
                self._history(0)  # the server refuses, with the name of the node
            self._generation = base._generation
            if base._grad_flag is not False:
                node = Node((base._own_node(),), self._session.wire.sent)
                node.follow(self._node)
                self._node = node
                self._grad_flag, self._leaf = base._grad_flag, False

    def _own_node(self) -> Node:
        node = self._node
        if node is None:
            node = self._node = Node(leaf=True)
        if self._grad_flag is None:
            node.unsure = True
        return node

    @property
    def requires_grad(self) -> bool:
        """Whether ops on it are recorded. A view requires grad as its base does: one without history of its own, made
        under ``no_grad`` or before the base required any, passes no gradient on."""
        self._refresh()
        if self._grad_flag is None:
            self._grad_flag = self._history(0).requires_grad
        return self._grad_flag or (self._base is not None and self._base.requires_grad)

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise RuntimeError("requires_grad must be a bool")
        if value and not self.is_leaf:
            raise RuntimeError(refusals.NOT_A_LEAF.partition(" If")[0])
        if value and not self.dtype.differentiable:
            raise RuntimeError("only Tensors of floating point and complex dtype can require gradients")
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Have ops on this leaf recorded, or not any more.

        Raises:
            RuntimeError: it holds no floating-point numbers, or is not a leaf.
        """
        if not isinstance(requires_grad, bool):
            raise TypeError(
                "requires_grad_(): argument 'requires_grad' (position 1) must be bool, not "
                f"{type(requires_grad).__name__}"
            )
        if requires_grad and not self.dtype.differentiable:
            raise RuntimeError(refusals.NOT_FLOATING)
        if requires_grad and self._storage.inference:
            from gradwire.dispatch import mode

            if not mode.inference:
                raise RuntimeError(refusals.INFERENCE_REQUIRING_GRAD)
        if not self.is_leaf:
            if not requires_grad:
                raise RuntimeError(refusals.NOT_A_LEAF)
            return self
        if self._grad_flag is not requires_grad:
            with self._session.wire.lock:
                m = self._session.instruction(names=[self]).require_grad
                m.tensor, m.value = self._id, requires_grad
            self._grad_flag, self._leaf = requires_grad, True
            self._session.leaves[self._id] = self
            self._forget_node()
        return self

    def _forget_node(self) -> None:
        """Begin anew in the graph; graphs keep the old node, and the gradient stays here."""
        before, self._node = self._node, None
        if before is not None and before.has_grad is not False:
            self._own_node().has_grad = before.has_grad

    def retain_grad(self) -> None:
        """Keep the gradient of a tensor that is not a leaf in ``.grad``."""
        if not self.requires_grad:
            raise RuntimeError(refusals.NO_GRAD_RETAINED)
        if self.is_leaf:
            return
        forbid("has a tensor retain its gradient", "do so outside, or use autograd.grad")
        self._own_node().retains = True
        with self._session.wire.lock:
            m = self._session.instruction(names=[self]).require_grad
            m.tensor, m.retain = self._id, True

    @property
    def retains_grad(self) -> bool:
        return self._node is not None and self._node.retains

    @property
    def output_nr(self) -> int:
        """Which of its node's outputs it is."""
        forbid("looks at the graph", "look at it outside")
        return 0 if self.is_leaf else int(self._history(0).output)

    def _history(self, max_nodes: int, edge: int = 0) -> Any:
        """What the server tells of how the tensor came to be; ``edge``: the id for where its gradient goes."""
        session = self._session
        request = session.wire.request()
        with session.wire.lock:
            m = session.instruction().inspect
            m.tensor, m.request, m.max_nodes, m.edge = self._id, request, max_nodes, edge
        return session.wire.wait(request).history

    def _made_by(self) -> str:
        """The name of the node that made it, "" for a leaf."""
        if self.is_leaf:
            return ""
        forbid("looks at the graph", "look at it outside")
        nodes = self._history(1).nodes
        return nodes[0].name if nodes and not nodes[0].name.endswith("AccumulateGrad") else ""

    @property
    def grad_fn(self) -> GradFn | None:
        """The node that made it, None for a leaf."""
        if self.is_leaf:
            return None
        from gradwire.autograd.graph import grad_fn

        forbid("looks at the graph", "look at it outside")
        return grad_fn(self)

    @property
    def grad(self) -> Tensor | None:
        """The gradient that backward accumulated, None where there is none.

        Warns as torch does where the tensor is neither a leaf nor retains its gradient.
        """
        if not self.is_leaf and not self.retains_grad:
            if self._grad is not None:  # it was assigned
                return self._grad
            warnings.warn(NONLEAF_GRAD, UserWarning, stacklevel=2)
            return None
        node, known = self._node, self._grad
        if here.capture is not None:
            known = here.capture.gradient(self)
        if node is not None and node.has_grad is not False and (known is None or self._grad_seen != node.replaced):
            self._grad, self._grad_seen = None, node.replaced
            session = self._session
            made = tensor_of(session, session.new_id(), spec(self._spec.shape, self.dtype))
            sure = not node.unsure and node.has_grad is True
            request = 0 if sure else session.wire.request()
            with session.wire.lock:
                m = session.instruction(names=[self]).get_gradient
                m.tensor, m.result, m.request = self._id, made._id, request
            note(made)
            if request:
                node.has_grad = session.wire.wait(request).done.defined[0]
            if not node.has_grad:
                if here.capture is not None:
                    here.capture.undefined.add(made._id)
                return None
            if node.unsure:
                made._grad_flag = None
                made._node = Node(node.behind, unsure=True)
                made._leaf = False
            self._grad = made
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"assigned grad expected to be a Tensor or None but got grad of type {type(value).__name__}"
                )
            if value is self:
                raise RuntimeError("can't assign Variable as its own grad")
            if value._spec.shape != self._spec.shape:
                raise RuntimeError(refusals.assigned_shape(value.shape, self.shape))
            if value.dtype is not self.dtype:
                name = CPP_NAME.get(value.dtype.name, "bool")
                raise RuntimeError(
                    f"attempting to assign a gradient with dtype '{name}' to a tensor with "
                    f"grad_dtype '{self.dtype.legacy}'. The gradient must match the tensor's grad_dtype (defaults to "
                    "the tensor's dtype). You can set the tensor's grad_dtype attribute with a specific dtype, or None "
                    "to allow any dtype. Set grad_dtype with caution. Diverging the dtypes of a tensor and its "
                    "gradient may break downstream systems that assume they match."
                )
        else:
            drop_gradients([self])
            return
        if here.capture is not None:
            here.capture.sets_gradient(self)
        with self._session.wire.lock:
            m = self._session.instruction(names=[value]).set_gradient
            m.tensors.append(self._id)
            m.gradient = value._id
        self._grad = value
        self._own_node().has_grad = True

    @grad.deleter
    def grad(self) -> None:
        self.grad = None

    def backward(self, gradient: Tensor | None = None, retain_graph: bool | None = None, create_graph: bool = False,
                 inputs: Any = None) -> None:  # fmt: skip
        """Add the gradients of this tensor to ``.grad`` of the leaves it was made from."""
        from gradwire.autograd import backward

        backward(self, gradient, retain_graph, create_graph, inputs=inputs)

    def detach_(self) -> Tensor:
        """Cut the tensor from its history, in place."""
        if self._base is not None:
            raise RuntimeError(refusals.VIEW_DETACHED)
        with self._session.wire.lock:
            self._session.instruction(names=[self]).detach.tensor = self._id
        if self._storage.used:
            self._session.last_write = self._session.wire.sent
        self._grad_flag, self._leaf = False, True
        self._forget_node()
        return self

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Have ``hook`` see, and perhaps replace, each gradient that arrives at this tensor."""
        if not self.requires_grad:
            raise RuntimeError(refusals.NO_GRAD_HOOKED)
        from gradwire.autograd.hooks import on_gradient

        return on_gradient(self, hook)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Tensor], None]) -> RemovableHandle:
        """Have ``hook`` called with this leaf after its ``.grad`` was added to."""
        if not self.requires_grad:
            raise RuntimeError(refusals.NO_GRAD_HOOKED)
        if not self.is_leaf:
            raise RuntimeError(refusals.NON_LEAF_POST_HOOKED)
        from gradwire.autograd.hooks import after_accumulation

        return after_accumulation(self, hook)

    def share_memory_(self) -> Tensor:
        return self

    def pin_memory(self) -> Tensor:
        return self


def tensor_of(
    session: Session, i: int, s: Spec, grad: bool | None = False, node: Node | None = None,
    storage: Storage | None = None, into: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """The tensor that a session has under an id.

    Args:
        grad: whether it requires grad; None where only the server knows.
        into: an empty object that is to be it.
    """
    t: Tensor = _new(Tensor) if into is None else into
    t._session = session
    t._id = i
    t._spec = s
    t._grad_flag = grad
    t._node = node
    t._leaf = node is None
    t._storage = storage or Storage(s.nbytes)
    t._offset = 0
    t._base = None
    t._generation = 0
    t._creation = ""
    t._grad = None
    t._grad_seen = 0
    return t


_new = object.__new__


def drop_gradients(tensors: Iterable[Tensor]) -> None:
    """Set ``.grad`` of each to None, in one instruction a session."""
    by_session: dict[Session, list[int]] = {}
    for t in tensors:
        node = t._node
        # What is captured drops a gradient whether or not there is one the first time.
        if t._grad is not None or (node is not None and node.has_grad is not False) or here.capture is not None:
            if here.capture is not None:
                here.capture.sets_gradient(t)
            t._grad = None
            t._own_node().has_grad = False
            by_session.setdefault(t._session, []).append(t._id)
    for session, ids in by_session.items():
        with session.wire.lock:
            session.instruction().set_gradient.tensors.extend(ids)


def restore(session: Session, kept: Iterable[Any]) -> None:
    """Give a session, in ``session.tensors``, what the one before it kept."""
    known: dict[int, Tensor] = {}
    for k in kept:
        t = known.get(k.tensor)
        if t is None:
            t = known[k.tensor] = found(session, k)
        session.tensors[k.name] = t


def found(session: Session, k: Any) -> Tensor:
    """A tensor that is on the server, as that tells of it."""
    s = spec(tuple(k.spec.shape), dtype_of(k.spec.dtype), tuple(k.strides))
    t = tensor_of(session, k.tensor, s, k.requires_grad, None if k.leaf else Node(unsure=True))
    t._storage.used = True  # as far as anybody knows
    if k.leaf and k.requires_grad:
        session.leaves[k.tensor] = t
    if k.has_gradient:
        own = t._own_node()
        own.has_grad, own.retains = True, not k.leaf
    return t
