"""Commands for papers: the studies of one run again, and an archive for its readers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from pipeline.cli.base import (
    CLUSTER,
    FAILED,
    REALIZATIONS,
    WORKERS,
    file_argument,
    main,
    output_option,
    path_option,
    set_up_logging,
    show,
    terminal,
)
from pipeline.errors import InputError


@main.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("workflows/paper"))
@path_option(
    "--store",
    default=Path("results/paper"),
    show_default=True,
    help="Folder of the stores, one per study.",
)
@path_option("-o", "--output", default=Path("paper.html"), show_default=True, help="HTML file.")
@path_option("--figures", help="Folder for the figures as PNG files.")
@WORKERS
@CLUSTER
@REALIZATIONS
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def paper(
    folder: Path,
    store: Path,
    output: Path,
    figures: Path | None,
    realizations: int | None,
    quiet: bool,
    **where: Any,
) -> None:
    """Run all studies of FOLDER and write one report, beside the published results.

    FOLDER holds a campaign file per study; published results are looked for in its folder
    "published", as NAME.csv. Studies that are done are not run again.

    Examples:
      kronsbl paper
      kronsbl paper --realizations 20 --store /scratch/trial -o trial.html
      kronsbl paper workflows/paper --figures docs/figures
    """
    from pipeline.campaign import Campaign
    from pipeline.cli.progress import shown
    from pipeline.driver.run import run as run_campaign
    from pipeline.report.paper import Study, agreement, check_published, paper_page, write_figures
    from pipeline.results.publishing import open_results
    from pipeline.store.files import replace_text

    files = sorted(folder.glob("*.toml"))
    if not files:
        raise InputError(f"{folder}: no campaign files (*.toml) in there")
    for folder_of_output in (figures or output.parent, output.parent):
        if not folder_of_output.is_dir():
            raise InputError(f"{folder_of_output}: there is no such folder")
    campaigns = {file: Campaign.load(file, realizations=realizations) for file in files}
    for file, campaign in campaigns.items():  # found out before the work, not after
        check_published(file, campaign)
    set_up_logging(quiet)
    console, studies, good = terminal(), [], True
    for file, campaign in campaigns.items():
        if not quiet:
            show(console, f"{file.stem}:")
        with shown(console, quiet=quiet) as progress:
            done = run_campaign(
                campaign,
                store / file.stem,
                progress=progress,
                folder=file.resolve().parent,
                dashboard=not quiet,
                **where,
            )
        good = good and done.ok
        studies.append(Study.of(file, open_results(done.store)))
    replace_text(output, paper_page(f"The studies in {folder}", studies))
    written = [output, *(write_figures(studies, figures) if figures is not None else [])]
    for path in written:
        click.echo(path)
    for line in agreement(studies):
        click.echo(line)
    sys.exit(0 if good else FAILED)


@main.command()
@file_argument("store")
@output_option("ZIP file.", ".zip")
@click.option("--blocks/--no-blocks", default=True, help="Blocks, or only their digests.")
@path_option("--citation", help="CITATION.cff of your results; default kronsbl's.")
def archive(store: Path, output: Path, **options: Any) -> None:
    """Write STORE into one file for reviewers and data repositories.

    In it are the store with its cube and blocks, the report, the campaign file, what it was
    computed with, a README and digests of all files. `kronsbl verify FILE.zip` checks it.

    Examples:
      kronsbl archive results/quickstart -o quickstart.zip
      kronsbl archive results/quickstart -o quickstart.zip --no-blocks
    """
    from pipeline.report.archiving import archive as archive_store

    click.echo(archive_store(store, output, **options))
