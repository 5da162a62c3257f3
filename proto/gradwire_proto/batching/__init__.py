"""How ops are done on batches: what each comes to on many examples at once. One family a file, as in the catalog.

The client's ``vmap`` and the engine's gradients of many rows go by the same rules.
"""

import importlib
import pkgutil

from gradwire_proto.batching.declare import RULES, Level, run, write

for _family in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_family.name}")

__all__ = ["RULES", "Level", "run", "write"]
