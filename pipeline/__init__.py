"""Monte Carlo campaigns over `solvers`: from a campaign file to a labelled result cube.

Names are imported when first used, so that checking a campaign does not wait for the packages
that only running one needs. They stand in ``__init__.pyi``.
"""

from pipeline.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
