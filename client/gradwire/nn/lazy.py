"""Lazy layers: what they learn of their first input decides their parameters' shapes."""

from __future__ import annotations

from typing import Any

from gradwire.capture.record import paused
from gradwire.functions.creation import zeros
from gradwire.nn import conv, norm
from gradwire.nn.linear import Linear
from gradwire.nn.module import Module
from gradwire.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy
from gradwire.tensor import Tensor
from gradwire_proto import dtypes


class LazyModuleMixin:
    """What lazy modules are, beside layers: on the first call they are asked to ``initialize_parameters``, and become
    of the class ``cls_to_become``."""

    cls_to_become: type | None = None

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        me: Any = self
        self._load_hook: Any = me.register_load_state_dict_pre_hook(_materialize)
        self._initialize_hook: Any = me.register_forward_pre_hook(_initialize, with_kwargs=True)

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Give the parameters their shapes, and values; told what ``forward`` is told."""
        raise NotImplementedError(f"initialize_parameters is not implemented for {type(self).__name__}")

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or a buffer has no shape yet."""
        me: Any = self
        return any(map(is_lazy, (*me._parameters.values(), *me._buffers.values())))

    def reset_parameters(self) -> None:
        """Draw the parameters, where there are any yet."""
        me: Any = self
        known = getattr(me, "in_features", getattr(me, "in_channels", getattr(me, "num_features", 0)))
        if known and not self.has_uninitialized_params():
            super().reset_parameters()  # type: ignore[misc]


def _materialize(module: Any, state_dict: Any, prefix: str, *rest: Any) -> None:
    """Before values are loaded, have the parameters the shapes of those."""
    for name, t in (*module._parameters.items(), *module._buffers.items()):
        value = state_dict.get(prefix + name)
        if is_lazy(t) and isinstance(value, Tensor) and not is_lazy(value):
            t.materialize(value.shape)


def _initialize(module: Any, args: Any, kwargs: Any) -> None:
    with paused():  # once, not each time
        module.initialize_parameters(*args, **kwargs)
    if module.has_uninitialized_params():
        raise RuntimeError(f"module {type(module).__name__} has not been fully initialized")
    module._initialize_hook.remove()
    module._load_hook.remove()
    del module._initialize_hook, module._load_hook
    if module.cls_to_become is not None:
        module.__class__ = module.cls_to_become


class LazyLinear(LazyModuleMixin, Linear):
    """A :class:`Linear` that takes its number of inputs from the last dimension of its first."""

    cls_to_become = Linear
    weight: Any
    bias: Any

    def __init__(self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None):
        super().__init__(0, 0, False)
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.out_features = out_features
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def initialize_parameters(self, input: Tensor) -> None:
        if self.has_uninitialized_params():
            self.in_features = input.shape[-1]
            self.weight.materialize((self.out_features, self.in_features))
            if self.bias is not None:
                self.bias.materialize((self.out_features,))
            self.reset_parameters()
        elif not self.in_features:  # they were loaded
            if input.shape[-1] != self.weight.shape[-1]:
                raise AssertionError(
                    f"The in_features inferred from input: {input.shape[-1]} is not equal to in_features from "
                    f"self.weight: {self.weight.shape[-1]}"
                )
            self.in_features = input.shape[-1]


class _LazyConv(LazyModuleMixin):
    """A convolution that takes its number of channels from its first input."""

    def __init__(self, out_channels: int, kernel_size: Any, *args: Any, device: Any = None, dtype: Any = None,
                 **kwargs: Any):  # fmt: skip
        bias = kwargs.pop("bias")
        super().__init__(0, 0, kernel_size, *args, bias=False, **kwargs)
        me: Any = self
        me.out_channels = out_channels
        me.weight = UninitializedParameter(device=device, dtype=dtype)
        if bias:
            me.bias = UninitializedParameter(device=device, dtype=dtype)

    def initialize_parameters(self, input: Tensor, *args: Any, **kwargs: Any) -> None:
        me: Any = self
        if not self.has_uninitialized_params():
            return
        n = me.n
        if input.ndim not in (n + 1, n + 2):
            raise RuntimeError(
                f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {type(me).__name__}, but got input of "
                f"size: {input.shape}"
            )
        channels = me.in_channels = input.shape[input.ndim - n - 1]
        if channels % me.groups:
            raise ValueError("in_channels must be divisible by groups")
        given, made = channels, me.out_channels
        shape = (given, made // me.groups) if me.transposed else (made, given // me.groups)
        me.weight.materialize((*shape, *me.kernel_size))
        if me.bias is not None:
            me.bias.materialize((made,))
        self.reset_parameters()


def _conv(transposed: bool) -> Any:
    """The constructor, with torch's order of arguments; in_channels is what it lacks."""
    if transposed:

        def init_transposed(self: Any, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0,
                            output_padding: Any = 0, groups: int = 1, bias: bool = True, dilation: int = 1,
                            padding_mode: str = "zeros", device: Any = None, dtype: Any = None) -> None:  # fmt: skip
            _LazyConv.__init__(self, out_channels, kernel_size, stride, padding, output_padding, groups, bias=bias,
                               dilation=dilation, padding_mode=padding_mode, device=device, dtype=dtype)  # fmt: skip

        return init_transposed

    def init(self: Any, out_channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
             groups: int = 1, bias: bool = True, padding_mode: str = "zeros", device: Any = None,
             dtype: Any = None) -> None:  # fmt: skip
        _LazyConv.__init__(self, out_channels, kernel_size, stride, padding, dilation, groups, bias=bias,
                           padding_mode=padding_mode, device=device, dtype=dtype)  # fmt: skip

    return init


class _LazyNorm(LazyModuleMixin):
    """A norm that takes its number of channels from its first input."""

    def _start(self, eps: float, momentum: float | None, affine: bool, track_running_stats: bool, device: Any,
               dtype: Any, bias: bool) -> None:  # fmt: skip
        made = {"device": device, "dtype": dtype}
        me: Any = self
        LazyModuleMixin.__init__(self, 0, eps, momentum, False, False, **made)
        me.affine, me.track_running_stats = affine, track_running_stats
        if affine:
            me.weight = UninitializedParameter(**made)
            if bias:
                me.bias = UninitializedParameter(**made)
        if track_running_stats:
            me.running_mean, me.running_var = UninitializedBuffer(**made), UninitializedBuffer(**made)
            me.num_batches_tracked = zeros((), dtype=dtypes.int64)

    def initialize_parameters(self, input: Tensor) -> None:
        me: Any = self
        if self.has_uninitialized_params():
            me.num_features = input.shape[1]
            for t in (me.weight, me.bias, me.running_mean, me.running_var):
                if t is not None:
                    t.materialize((me.num_features,))
            self.reset_parameters()


def _init_norm(self: Any, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
               track_running_stats: bool = True, device: Any = None, dtype: Any = None, *,
               bias: bool = True) -> None:  # fmt: skip
    """Of instance norms, too, whose own constructor has neither weights nor statistics unless asked."""
    self._start(eps, momentum, affine, track_running_stats, device, dtype, bias)


def _classes() -> dict[str, type[Module]]:
    made: dict[str, type[Module]] = {}
    for name, plain in (conv.CLASSES | norm.CLASSES).items():
        mixin = _LazyConv if name.startswith("Conv") else _LazyNorm
        init = _init_norm if mixin is _LazyNorm else _conv("Transpose" in name)
        members = {"__init__": init, "cls_to_become": plain, "__module__": "gradwire.nn", "__doc__": mixin.__doc__}
        made[f"Lazy{name}"] = type(f"Lazy{name}", (mixin, plain), members)
    return made


CLASSES = _classes()
globals().update(CLASSES)
