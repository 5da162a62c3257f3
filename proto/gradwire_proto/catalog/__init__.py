"""The op catalog: every primitive op, declared once, read by client, server and engine alike. One family a file."""

import importlib
import pkgutil

from gradwire_proto.catalog.declare import ALIASES, CATALOG, Inferred, Op, Param, Result

for _family in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_family.name}")

__all__ = ["ALIASES", "CATALOG", "Inferred", "Op", "Param", "Result"]
