"""gradwire's server: sessions, streams, limits, metrics, the command line."""

import os

# OpenBLAS's threads spin for milliseconds after each product that they shared, on cores that the stream's threads need.
# It reads this when NumPy loads it.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "10")
