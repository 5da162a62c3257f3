"""torch.utils.dlpack: tensors from and to libraries that speak DLPack."""

from gradwire.functions.exchange import from_dlpack, to_dlpack

__all__ = ["from_dlpack", "to_dlpack"]
