"""What has been computed: a folder of immutable block files."""

from pipeline.store.folder import Store

__all__ = ["Store"]
