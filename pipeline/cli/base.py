"""The common part of all commands: endings, the console, options."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
from click.shell_completion import CompletionItem
from rich.console import Console
from rich.table import Table

from pipeline.errors import ClusterLost, InputError, WrongWorker, in_one_line

if TYPE_CHECKING:
    from pipeline.campaign.request import Request

FAILED, BAD_INPUT, INTERRUPTED, TERMINATED = 1, 2, 130, 143

EXIT_STATUS = (
    f"Exit status: 0 done; {FAILED} something failed or is missing; {BAD_INPUT} bad input; "
    f"{INTERRUPTED} interrupted, {TERMINATED} terminated: the same command goes on."
)

F = TypeVar("F", bound=Callable[..., Any])


class Terminated(KeyboardInterrupt):
    """Somebody has sent SIGTERM, a batch system at its time limit say."""


def _terminate(*_: Any) -> None:
    raise Terminated


class Command(click.Command):
    """Keeps the lines of the examples in its help apart."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print the docstring; click joins the lines of paragraphs that have no mark."""
        text = inspect.cleandoc(self.help or "")
        self.help = text.replace("\n\nExample", "\n\n\b\nExample")
        super().format_help_text(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Say how a command ends."""
        formatter.write_paragraph()
        formatter.write_text(EXIT_STATUS)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete options, and the swept parameters of the store where they are options."""
        found = super().shell_complete(ctx, incomplete)
        if any(parameter.name == "point" for parameter in self.params):
            swept = known_in_store(lambda asked: [f"--{axis.dimension}" for axis in asked.axes])
            found += [CompletionItem(name) for name in swept(ctx, None, incomplete)]
        return found


class Commands(Command, click.Group):
    """Ends with one line and an exit status that says what happened."""

    command_class = Command

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        signal.signal(signal.SIGTERM, _terminate)
        try:
            return super().invoke(ctx)
        except InputError as error:
            _end(str(error), BAD_INPUT)
        except (OSError, MemoryError, ClusterLost, WrongWorker) as error:
            what = str(error) or in_one_line(error)
            _end(f"{what}; what was done is kept, the same command goes on", FAILED)
        except Terminated:
            _end("terminated; the same command goes on where this one was", TERMINATED)
        except KeyboardInterrupt:
            _end("interrupted; the same command goes on where this one was", INTERRUPTED)


def _end(message: str, status: int) -> NoReturn:
    tell(message)
    sys.exit(status)


class _Terminal(Console):
    """Falls silent where nobody reads on (``| head``), which is no failure of the work."""

    def on_broken_pipe(self) -> None:
        """Send what else is printed to nowhere; rich's own would end the process."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def terminal() -> Console:
    """Standard output; not wrapped where it is no terminal."""
    return _Terminal() if sys.stdout.isatty() else _Terminal(width=200, highlight=False)


def tell(line: str) -> None:
    """A line on standard error, if somebody reads it."""
    with contextlib.suppress(BrokenPipeError):
        click.echo(f"kronsbl: {' '.join(line.split())}", err=True)


def show(console: Console, *parts: Table | str) -> None:
    """Print tables, in parts where they are too wide, and lines as they are."""
    from pipeline.cli.terminal import fitted

    for part in parts:
        if isinstance(part, str):
            console.print(part, highlight=False, markup=False, emoji=False, soft_wrap=True)
        else:
            for piece in fitted(part, console):
                console.print(piece, highlight=False)


class _Lines(logging.Handler):
    """Standard error as it is now: while a bar is shown, what stands above it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line."""
        print(self.format(record), file=sys.stderr)


def set_up_logging(quiet: bool) -> None:
    """Our own messages as lines; none of Dask's, whose tracebacks tell users nothing."""
    import dask

    # Read when distributed is imported, which is later.
    chatty = ("asyncio", "distributed", "distributed.client", "tornado", "tornado.application")
    dask.config.set({"logging": dict.fromkeys(chatty, "critical")})
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_Lines()])
    logging.getLogger("kronsbl").setLevel(logging.WARNING if quiet else logging.INFO)


def file_argument(name: str) -> Callable[[F], F]:
    """An argument that is a file or a folder."""
    return click.argument(name, type=click.Path(path_type=Path))


def path_option(*names: str, **options: Any) -> Callable[[F], F]:
    """An option that takes a file or a folder."""
    return click.option(*names, type=click.Path(path_type=Path), **options)


def output_option(words: str, *suffixes: str, required: bool = True) -> Callable[[F], F]:
    """The option -o for a file that is to be written; what is wrong with it shows before the work.

    Parameters
    ----------
    words
        What the help says.
    *suffixes
        How the name may end.
    required
        Whether there is no default.
    """

    def checked(_: click.Context, __: click.Parameter, path: Path | None) -> Path | None:
        from pipeline.store.files import checked_output

        return None if path is None else checked_output(path, *suffixes)

    return path_option("-o", "--output", required=required, callback=checked, help=words)


POINT = click.argument("point", nargs=-1, type=click.UNPROCESSED)
"""For commands with `ignore_unknown_options`; `point_of` reads it."""


def point_of(words: tuple[str, ...]) -> dict[str, Any]:
    """``--name value`` and ``--name=value`` as a dictionary, values as in TOML.

    What is given several times becomes a list. ``--at.size`` is the swept parameter ``size`` where
    the command has an option of that name.
    """
    from pipeline.analysis.describing import toml_value
    from pipeline.campaign.axes import value_label

    pairs = [
        part for word in words for part in (word.split("=", 1) if word[:2] == "--" else [word])
    ]
    if len(pairs) % 2 or any(not name.startswith("--") for name in pairs[::2]):
        raise InputError(f"{' '.join(words)}: expected one --PARAMETER VALUE per swept parameter")
    found: dict[str, list[Any]] = {}
    for name, value in zip(pairs[::2], pairs[1::2], strict=True):
        found.setdefault(name[2:].removeprefix("at."), []).append(value_label(toml_value(value)))
    return {name: values if len(values) > 1 else values[0] for name, values in found.items()}


def check_point(point: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise InputError where a word is neither an option of the command nor a swept parameter.

    Parameters
    ----------
    point
        What `point_of` has found.
    known
        Names of the swept parameters.
    """
    known = list(known)
    command = click.get_current_context().command
    options = [word[2:] for p in command.params for word in p.opts if word.startswith("--")]
    for name in point:
        if name not in known:
            swept = f"; swept here: {', '.join(known)}" if known else "; nothing is swept here"
            near = difflib.get_close_matches(name, [*known, *options], n=1, cutoff=0.6)
            raise InputError(
                f"--{name}: neither an option nor a swept parameter"
                + (f"; did you mean --{near[0]}?" if near else swept)
            )


def known_in_store(names: Callable[[Request], Iterable[str]]) -> Callable[..., list[str]]:
    """What completes names that the store on the command line knows."""

    def complete(ctx: click.Context, _: click.Parameter | None, incomplete: str) -> list[str]:
        from pipeline.store import Store

        # Where an option lacks its value still, click has not come to see that this is a store.
        store = ctx.params.get("store") or next(iter(ctx.args), None)
        try:
            known = names(Store.open(store).asked()) if store else ()
        except (InputError, OSError):  # no store yet
            return []
        return [name for name in known if name.startswith(incomplete)]

    return complete


complete_labels = known_in_store(lambda asked: asked.labels)
complete_measures = known_in_store(lambda asked: asked.measures)

STORE_OPTION = path_option("--store", help="Folder of the results; default results/NAME.")
WORKERS = click.option(
    "--workers", type=click.IntRange(min=1), help="Worker processes; default one per core."
)


CODE = click.option(
    "--code",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of solvers MODULE:CLASS, if the store is not your own.",
)


class ClusterOption(click.Option):
    """An option whose help names the batch systems, which are loaded for nothing else here."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Name and help of the option."""
        from pipeline.cluster.systems import SYSTEMS

        self.help = (
            f"local, a batch system ({', '.join(SYSTEMS)}), an address (tls://…, tcp://…), a "
            "scheduler file, or MODULE:FUNCTION that returns a client."
        )
        return super().get_help_record(ctx)


CLUSTER = click.option("--cluster", cls=ClusterOption, default="local", show_default=True)
DEVICE = click.option("--device", metavar="cpu|cuda", help="Where solvers solve that run there.")
REALIZATIONS = click.option(
    "--realizations",
    type=click.IntRange(min=1),
    help="Instead of the file's; never shrinks a store.",
)


def _version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from pipeline.solving import provenance

        facts = provenance.of_process()
        click.echo(f"kronsbl, version {facts['versions']['kronsbl']}")
        shown = {name: facts[name] for name in ("commit", "python", "cpu", "target", "blas")}
        shown |= {name: provenance.package_version(name) for name in provenance.PACKAGES[1:]}
        click.echo("\n".join(f"{name} {value}" for name, value in shown.items()))
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="What is installed here, for a report of a mistake.",
)
def main() -> None:
    """Monte Carlo campaigns for Kronecker-structured sparse Bayesian learning.

    Examples:
      kronsbl run workflows/quickstart.toml
      kronsbl summary results/quickstart
      kronsbl plot results/quickstart -o nmse.png
    """
