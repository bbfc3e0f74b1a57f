"""A batch system of one machine that speaks as SLURM, PBS, LSF and SGE do.

    fake.py SPOOL SYSTEM COMMAND [ARGUMENT…]

A job is a process group that runs the script. Everything known of it is in a folder of SPOOL that
has its number as a name; a file SPOOL/refuse has what submissions are refused with. Dialects were
written after the manuals of the systems, not after `pipeline.cluster.systems`.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

PREFIX = {"slurm": "#SBATCH", "pbs": "#PBS", "lsf": "#BSUB", "sge": "#$"}

ANSWER = {
    "slurm": "Submitted batch job {}",
    "pbs": "{}.head.example.org",
    "lsf": "Job <{}> is submitted to queue <normal>.",
    "sge": 'Your job {} ("kronsbl") has been submitted',
}


def options_of(system, script):
    """Options in a script's directives, with their values."""
    words = []
    for line in script.splitlines()[1:]:
        if line.startswith(f"{PREFIX[system]} "):
            words += shlex.split(line.removeprefix(PREFIX[system]))
        elif line and not line.startswith("#"):
            break
    found = {}
    for word in words:
        if word.startswith("-"):
            name, _, value = word.partition("=")
            found[name] = value
        else:
            found[name] = f"{found.get(name)} {word}".strip()
    return found


def log_of(system, options, number):
    if system == "slurm":
        return options["--output"].replace("%j", number)
    if system == "pbs":
        assert Path(options["-o"]).is_dir()
        return f"{options['-o']}/{number}.head.OU"
    return options["-o"].replace("%J", number).replace("$JOB_ID", number)


def submit(spool, system, arguments):
    test = "--test-only" in arguments
    script = sys.stdin.read() if system == "lsf" else Path(arguments[-1]).read_text()
    options = options_of(system, script)
    with contextlib.suppress(FileNotFoundError):
        sys.exit((spool / "refuse").read_text())
    if test:
        return
    number = 1
    while True:
        with contextlib.suppress(FileExistsError):
            (spool / str(number)).mkdir()
            break
        number += 1
    job = spool / str(number)
    (job / "script").write_text(script)
    with open(log_of(system, options, str(number)), "ab") as log:
        process = subprocess.Popen(
            ["bash", job / "script"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",  # as PBS and SGE begin in another folder than the one of the submission
        )
    (job / "pid").write_text(str(process.pid))
    print(ANSWER[system].format(number))


def alive(job):
    """Whether the job runs; the dead whom nobody has buried yet do not."""
    try:
        stat = Path(f"/proc/{(job / 'pid').read_text()}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(") ")[2][0] != "Z"


def running(spool):
    return sorted(int(job.name) for job in spool.iterdir() if job.name.isdigit() and alive(job))


def queue(spool, system, arguments):
    numbers = running(spool)
    if system == "slurm":
        [form] = [a.partition("=")[2] for a in arguments if a.startswith("--format=")]
        for number in numbers:
            print(form.replace("%A", str(number)).replace("%T", "RUNNING").replace("%r", "None"))
    elif system == "pbs":
        assert arguments[0] == "-u"
        if numbers:
            print("\nhead.example.org:\n" + " " * 60 + "Req'd  Req'd   Elap")
            print("Job ID          Username Queue    Jobname    SessID NDS TSK Memory Time  S Time")
        for number in numbers:
            print(f"{number}.head.exa* me  workq    kronsbl    4711   1   1    1gb 00:10 R 00:01")
        print("999.head.exa*   me       workq    kronsbl     --    1   1    1gb 00:10 C  -- ")
    elif system == "lsf":
        if not numbers:
            sys.exit("No unfinished job found")
        print("JOBID   USER    STAT  QUEUE      FROM_HOST   EXEC_HOST   JOB_NAME   SUBMIT_TIME")
        for number in numbers:
            print(
                f"{number}       me      RUN   normal     here        there       kronsbl    May 1"
            )
    else:
        assert arguments[0] == "-u"
        if numbers:
            print("job-ID  prior   name       user         state submit/start at     queue  slots")
            print("-" * 80)
        for number in numbers:
            print(f"{number:7} 0.50000 kronsbl    me           r     05/01/2026 12:00:00 a@b   1")


def cancel(spool, _, arguments):
    for number in arguments:
        job = spool / number
        if not alive(job):
            sys.exit(f"job {number} is unknown")
        os.killpg(int((job / "pid").read_text()), signal.SIGKILL)


COMMANDS = {
    "slurm": {"sbatch": submit, "squeue": queue, "scancel": cancel},
    "pbs": {"qsub": submit, "qstat": queue, "qdel": cancel},
    "lsf": {"bsub": submit, "bjobs": queue, "bkill": cancel},
    "sge": {"qsub": submit, "qstat": queue, "qdel": cancel},
}


def install(folder, spool, system):
    """Write the commands of a batch system into a folder."""
    for command in COMMANDS[system]:
        words = [sys.executable, "-SE", __file__, spool, system, command]
        (folder / command).write_text(f'#!/bin/sh\nexec {shlex.join(map(str, words))} "$@"\n')
        (folder / command).chmod(0o755)


if __name__ == "__main__":
    _, place, name, verb, *rest = sys.argv
    COMMANDS[name][verb](Path(place), name, rest)
