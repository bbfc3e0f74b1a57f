"""The store: a folder of immutable block files, the only truth about what was computed."""

from pipeline.store.folder import Store

__all__ = ["Store"]
