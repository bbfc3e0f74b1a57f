"""Somebody's own program as a solver: a batch goes out as a file, and an estimate comes back."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import scipy.io

from pipeline.scenarios.records import beside_the_campaign
from pipeline.solving.contract import BrokenContract
from solvers import Estimate, IterationState, Problem, Status, Watch, option
from solvers.noise import NoiseOption
from solvers.problem import Array

GUARD = 'exec 3<&0; (cat <&3; kill -KILL 0) >/dev/null 2>&1 & "$@" </dev/null 3<&-'
"""Shell that runs a command and, once its own input is closed, ends all that this has started: so
nothing goes on after a worker that was killed."""

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

SECONDS_BETWEEN_LOOKS = 0.01
SECONDS_BETWEEN_WATCHES = 0.25

LONGEST_OUTPUT = 400
"""Characters of what a program said that are kept where it fails: those at the end."""


@dataclass(frozen=True)
class External(NoiseOption):
    """A program of one's own, in whatever language: docs/external.md.

    A batch is written to ``problem.mat`` (or ``.npz``) in a private folder, which the command
    runs in, and ``estimate.mat`` is read when it has ended. A process per batch: programs keep
    nothing from one batch to the next, so that no result depends on which worker solved what, and
    what it costs to start one is spread over the batch.
    """

    command: tuple[str, ...] = option((), "program and its arguments", listed=True, type=str)
    files: tuple[str, ...] = option(
        (), "files beside the campaign that it needs in its folder", listed=True, type=str
    )
    format: str = option("mat", "kind of files that are exchanged", choices=("mat", "npz"))
    digest: str = option("", "of the contents of files, so that others are another solver")
    scaling: str = option(
        "none", "none: a program gets the problem as it is", choices=("none",), kw_only=True
    )

    source: ClassVar[str] = "a program of one's own"
    family: ClassVar[str] = "external"
    diagnostics: ClassVar[Mapping[str, tuple[str, str]]] = MappingProxyType(
        {"own_seconds": ("s", "time that the program says it took")}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.command:
            raise ValueError("command must list a program and its arguments, got none")
        contents = {name: _content(name) for name in self.files}
        digest = hashlib.blake2b(repr(contents).encode(), digest_size=8).hexdigest()
        if self.digest not in ("", digest):
            raise ValueError(f"{', '.join(self.files)}: not what they were, {self.digest}")
        object.__setattr__(self, "digest", digest)
        object.__setattr__(self, "_contents", contents)  # travels with this object to workers

    def _solve(self, problem: Problem, *, watch: Watch, **_: Any) -> Estimate:
        with TemporaryDirectory(prefix="kronsbl-") as name:
            folder = Path(name)
            for file, content in vars(self)["_contents"].items():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (folder / file).write_bytes(content)
            self._write(folder / f"problem.{self.format}", problem)
            how = _run(self.command, folder, problem.batch, watch)
            answer = folder / f"estimate.{self.format}"
            if how or not answer.is_file():
                said = (folder / "output.txt").read_text(errors="replace").replace(name, ".")
                raise RuntimeError(
                    f"{self.command[0]} {how or f'left no {answer.name}'}; it said: "
                    f"{' '.join(said.split())[-LONGEST_OUTPUT:] or 'nothing'}"
                )
            return _estimate(self._read(answer), problem)

    def _write(self, path: Path, problem: Problem) -> None:
        """Write a problem down: realizations are columns, and pages of factors of their own."""
        fields: dict[str, Any] = {"y": problem.y.reshape(problem.batch, -1).T}
        for number, factor in enumerate(problem.factors, 1):
            fields[f"A{number}"] = factor if factor.ndim == 2 else np.moveaxis(factor, 0, -1)
        if self.noise == "known" and problem.noise_var is not None:
            fields["noise_var"] = problem.noise_var[None]
        if self.format == "mat":
            scipy.io.savemat(path, fields)
        else:
            np.savez(path, **fields)

    def _read(self, path: Path) -> Mapping[str, Array]:
        try:
            if self.format == "mat":
                return scipy.io.loadmat(path)
            with np.load(path, allow_pickle=False) as found:
                return dict(found)
        except Exception as error:  # of many kinds, whatever it is that was written there
            how = " (save it with -v7)" if self.format == "mat" else ""
            raise BrokenContract(f"{path.name} cannot be read{how}: {error}") from error


def _content(name: str) -> bytes:
    """Of the file of that name in the folder of the campaign."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"files: {name!r} must be a path within the folder of the campaign")
    found = beside_the_campaign(name)
    if found is None or not found.is_file():
        raise ValueError(f"files: no {name!r} beside the campaign, or elsewhere on the import path")
    return found.read_bytes()


def _run(command: tuple[str, ...], folder: Path, batch: int, watch: Watch) -> str:
    """Run a command in a folder, what it says going to output.txt; empty, or how it has failed.

    Whatever a watch raises, for want of time say, ends the command and all that it has started.
    """
    everyone, state = np.arange(batch), IterationState()
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "sh", *command],
            cwd=folder,
            env=os.environ | ONE_THREAD,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    told = time.monotonic()
    try:
        while process.poll() is None:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            if time.monotonic() > told + SECONDS_BETWEEN_WATCHES:
                watch(0, everyone, state)  # before a first iteration: nothing to trace
                told = time.monotonic()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
    return f"ended with status {process.returncode}" if process.returncode else ""


def _estimate(found: Mapping[str, Array], problem: Problem) -> Estimate:
    """The estimate that a program has left."""
    batch, dims = problem.batch, problem.dims

    def tensor(name: str) -> Array:
        value = np.asarray(found[name])
        wanted = (int(np.prod(dims)), batch)
        if value.shape != wanted or value.dtype.kind not in "fciu":
            raise BrokenContract(
                f"{name} of shape {value.shape} and type {value.dtype} came back, expected "
                f"numbers of shape {wanted}: a column for each realization"
            )
        return value.T.reshape(batch, *dims)

    def numbers(name: str, default: Any) -> Array:
        value = np.ravel(found.get(name, np.full(batch, default)))
        if value.shape != (batch,) or value.dtype.kind not in "fiub":
            raise BrokenContract(f"{value.size} {value.dtype} {name} came back, expected {batch}")
        return value

    if "x" not in found:
        raise BrokenContract(f"no x came back, but {', '.join(found) or 'nothing'}")
    x = tensor("x")
    finite = np.isfinite(x.reshape(batch, -1)).all(axis=1)
    ended = np.where(numbers("converged", 1) != 0, Status.CONVERGED, Status.MAX_ITERATIONS)
    return Estimate(
        x.astype(problem.y.dtype) if np.isrealobj(x) else x,
        np.where(finite, ended, Status.DIVERGED),
        numbers("iterations", 0).astype(int),
        variance=tensor("variance").astype(float) if "variance" in found else None,
        noise_var=numbers("noise_var", np.nan).astype(float) if "noise_var" in found else None,
        diagnostics={"own_seconds": numbers("seconds", np.nan).astype(float)},
    )
