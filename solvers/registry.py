"""Names for classes: those that come with the package, and those that others register."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from solvers.bounds import CRB, BayesianCRB, ProductCRB
from solvers.core import Solver
from solvers.decomposition import DOMP, DKroSBL, DLasso
from solvers.fast_sbl import FastSBL
from solvers.greedy import OMP, KroneckerOMP
from solvers.kron_sbl import KSBL, AMKroSBL, SVDKroSBL
from solvers.l1 import BPDN, Lasso
from solvers.message_passing import UAMPSBL
from solvers.minima import Minima
from solvers.msbl import Multistage
from solvers.oracle import OracleLMMSE, OracleLS
from solvers.pattern_sbl import PCSBL, PCKroSBL
from solvers.sbl import ClassicSBL
from solvers.training import BilinearALS, KhatriRao, LeastSquares


def suggest(word: str, known: Iterable[str]) -> str:
    """An error message's ending: the nearest of the known words, or all of them."""
    known = list(known)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"


class Registry:
    """Dataclasses by name.

    Parameters
    ----------
    kind : str
        What they are, for messages.
    group : str
        Entry-point group by which other distributions add theirs.
    built_in : mapping of str to class
    methods : tuple of str
        Methods that such a class must have.
    base : class, optional
        A class that it must be derived from.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        built_in: Mapping[str, type],
        methods: tuple[str, ...] = (),
        base: type = object,
    ) -> None:
        self._kind, self._group = kind, group
        self._methods, self._base = methods, base
        self._built_in = dict(built_in)

    @cached_property
    def _entry_points(self) -> dict[str, EntryPoint]:
        return {entry.name: entry for entry in entry_points(group=self._group)}

    def names(self) -> list[str]:
        """Known names, sorted."""
        return sorted({*self._built_in, *self._entry_points})

    def find(self, name: str) -> type[Any]:
        """The class that `name` (one of `names`, or ``module:Class``) stands for.

        Raises
        ------
        ValueError
            There is none, or it is not a dataclass with the methods it needs.
        """
        if name in self._built_in:
            return self._built_in[name]
        if name not in self._entry_points and ":" not in name:
            raise ValueError(f"unknown {self._kind} {name!r}; {suggest(name, self.names())}")
        found = self._load(name)
        lacks = [method for method in self._methods if not hasattr(found, method)]
        is_dataclass = isinstance(found, type) and dataclasses.is_dataclass(found)
        if not is_dataclass or not issubclass(found, self._base) or lacks:
            needs = [f"a frozen dataclass with {method}()" for method in self._methods]
            if self._base is not object:
                needs.append(f"a frozen dataclass derived from {self._base.__name__}")
            raise ValueError(f"{name!r} is no {self._kind}: expected {', '.join(needs)}")
        return found

    def _load(self, name: str) -> Any:
        """Import what an entry point, or ``module:Class``, names."""
        try:
            if name in self._entry_points:
                return self._entry_points[name].load()
            module, _, attribute = name.partition(":")
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:  # running other people's modules may raise anything
            why = f"{type(error).__name__}: {error}"
            raise ValueError(f"cannot import {self._kind} {name!r}: {why}") from error

    def create(self, name: str, options: Mapping[str, Any]) -> Any:
        """Build what `name` stands for.

        Raises
        ------
        ValueError
            No such name or option, or a value that the option does not take.
        """
        found = self.find(name)
        known = [field.name for field in dataclasses.fields(found) if field.init]
        for option in options:
            if option not in known:
                raise ValueError(f"{name} has no option {option!r}; {suggest(option, known)}")
        return found(**options)


class SolverRegistry(Registry):
    """Solvers by name, which can be built from a preset."""

    def create(self, name: str, options: Mapping[str, Any]) -> Any:
        """Build a solver; a `preset` among the options gives those that are not stated.

        Raises
        ------
        ValueError
            No such name, preset or option, or a value that the option does not take.
        """
        preset = options.get("preset")
        presets = getattr(self.find(name), "presets", {})
        if isinstance(preset, str) and presets:
            if preset not in presets:
                raise ValueError(f"{name} has no preset {preset!r}; {suggest(preset, presets)}")
            options = {**presets[preset], **options}
        return super().create(name, options)


REGISTRY = SolverRegistry(
    "solver",
    "kronsbl.solvers",
    {
        "am_krosbl": AMKroSBL,
        "svd_krosbl": SVDKroSBL,
        "ksbl": KSBL,
        "pc_krosbl": PCKroSBL,
        "csbl": ClassicSBL,
        "pc_sbl": PCSBL,
        "fast_sbl": FastSBL,
        "omp": OMP,
        "komp": KroneckerOMP,
        "dkrosbl": DKroSBL,
        "domp": DOMP,
        "dlasso": DLasso,
        "lasso": Lasso,
        "bpdn": BPDN,
        "multistage": Multistage,
        "uamp_sbl": UAMPSBL,
        "ls": LeastSquares,
        "krf": KhatriRao,
        "bals": BilinearALS,
        "minima": Minima,
        "oracle_ls": OracleLS,
        "oracle_lmmse": OracleLMMSE,
        "crb": CRB,
        "bcrb": BayesianCRB,
        "crb_product": ProductCRB,
    },
    methods=("solve",),
)


def names() -> list[str]:
    """Names that `create` knows, sorted.

    Returns
    -------
    list of str
    """
    return REGISTRY.names()


def create(name: str, **options: Any) -> Solver:
    """Build a solver from its name and options.

    Parameters
    ----------
    name
        A name of `names`, or ``module:Class`` for any importable solver.
    **options
        The fields of the solver's dataclass; ``kronsbl solvers`` lists them. With
        ``preset="published"`` what is not given is as in the publication and its authors' code.

    Returns
    -------
    Solver

    Raises
    ------
    ValueError
        No such solver, preset or option, or a value that the option does not take.

    Examples
    --------
    >>> import solvers
    >>> solvers.create("am_krosbl", max_iterations=50).tolerance
    0.0001
    >>> solvers.create("am_krosbl", preset="published").scaling
    'none'
    """
    solver: Solver = REGISTRY.create(name, options)
    return solver
