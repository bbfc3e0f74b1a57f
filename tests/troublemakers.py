"""Solvers that misbehave on demand, and scenarios that are as cheap as can be."""

import ctypes
import os
import re
import time
from dataclasses import dataclass

import numpy as np

from solvers import Estimate, Problem


def plain_estimate(problem: Problem) -> Estimate:
    return Estimate(np.zeros((problem.batch, *problem.dims)))


@dataclass(frozen=True)
class Trouble:
    """Does something bad where the first measurement of a realization exceeds a threshold."""

    how: str = "raise"
    above: float = 0.0
    unless: str = ""  # there is a file of that name

    def solve(self, problem, *, initial=None, watch=None):
        bad = problem.y.reshape(problem.batch, -1)[:, 0] > self.above
        if bad.any() and not (self.unless and os.path.exists(self.unless)):
            getattr(self, self.how)()
        return plain_estimate(problem)

    def raise_error(self):
        raise RuntimeError("a bad day\nwith details")

    def sleep(self):
        time.sleep(600)

    def hang_holding_the_interpreter(self):
        re.match(r"(a+)+$", "a" * 60 + "b")  # backtracks for ages inside one C call

    def crash(self):
        ctypes.string_at(0)

    def get_killed(self):
        os.kill(os.getpid(), 9)

    def exhaust_memory(self):
        hoard = []
        while True:
            hoard.append(np.ones(2_000_000))
            time.sleep(0.005)  # the nanny looks ten times a second


@dataclass(frozen=True)
class Endless:
    """Iterates for ever, but lets itself be watched."""

    def solve(self, problem, *, initial=None, watch=None):
        iteration = 0
        while True:
            iteration += 1
            time.sleep(0.01)
            if watch is not None:
                watch(iteration, np.arange(problem.batch), None)


@dataclass(frozen=True)
class Nothing:
    """Costs next to nothing."""

    version = 1

    def solve(self, problem, *, initial=None, watch=None):
        return plain_estimate(problem)


@dataclass(frozen=True)
class Slow:
    """Takes its time for every batch."""

    seconds: float = 0.1

    def solve(self, problem, *, initial=None, watch=None):
        time.sleep(self.seconds)
        return plain_estimate(problem)


@dataclass(frozen=True)
class Sluggish:
    """Takes half a second in ten iterations, which it lets be watched."""

    def solve(self, problem, *, initial=None, watch=None):
        for iteration in range(1, 11):
            time.sleep(0.05)
            watch(iteration, np.arange(problem.batch), None)
        return plain_estimate(problem)
