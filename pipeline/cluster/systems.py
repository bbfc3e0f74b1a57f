"""The batch systems that there are, as data.

Adding one is writing a `BatchSystem` and putting it into `SYSTEMS`. Nothing else knows them by
name, and the tests of tests/test_batch.py run over all of `SYSTEMS`.
"""

from __future__ import annotations

from pipeline.cluster.description import JOB_NAME, LETTERS, POWERS, BatchSystem

SLURM = BatchSystem(
    name="slurm",
    submit="sbatch {script}",
    test="sbatch --test-only {script}",
    cancel="scancel",
    queue="squeue --me --noheader --format='%A %T %r'",
    queue_line=r"(?P<job>\d+) (?P<state>.+)",
    prefix="#SBATCH",
    header=("-J {name}", "-p {queue}", "-A {account}", "-t {walltime}", "--output={log}"),
    resources=("-n 1", "--cpus-per-task={cores}", "--mem={memory}", "--mem-per-cpu={per_core}"),
    gpus="--gres=gpu:{gpus}",
    clocks=((60,), (60, 1), (3600, 60, 1)),
    units={"": POWERS["M"]},
    log=f"{JOB_NAME}-%j.log",
)

PBS = BatchSystem(
    name="pbs",
    submit="qsub {script}",
    cancel="qdel",
    queue="qstat -u {user}",
    queue_line=r"(?P<job>\d+)\S*\s.*\s(?P<state>[A-Z])\s+\S+\s*$",
    ended=frozenset("CF"),
    prefix="#PBS",
    header=("-N {name}", "-q {queue}", "-A {account}", "-l walltime={walltime}", "-j oe -o {log}"),
    resources=(("-l select=1:ncpus={cores}:mem={job_memory}", "-l select=1:ncpus={cores}"),),
    gpus=":ngpus={gpus}",
    clocks=((1,), (60, 1), (3600, 60, 1)),
    units={"": 1, "B": 1, "W": 8} | {f"{letter}W": 8 * size for letter, size in POWERS.items()},
    size_ending="B",
)

LSF = BatchSystem(
    name="lsf",
    submit="bsub < {script}",  # as an argument, its directives would not be read
    cancel="bkill",
    queue="bjobs -w",
    queue_line=r"(?P<job>\d+)\s+\S+\s+(?P<state>\S+)",
    empty_queue="No unfinished job found",
    prefix="#BSUB",
    header=("-J {name}", "-q {queue}", "-P {account}", "-W {walltime}", "-o {log}"),
    resources=('-n {cores} -R "span[hosts=1]"', "-M {memory}", '-R "rusage[mem={per_core}/task]"'),
    gpus='-gpu "num={gpus}"',
    clocks=((60,), (3600, 60)),
    size_ending="B",
    log=f"{JOB_NAME}-%J.log",
)

SGE = BatchSystem(
    name="sge",
    submit="qsub {script}",
    cancel="qdel",
    queue="qstat -u {user}",
    queue_line=r"\s*(?P<job>\d+)\s+\S+\s+\S+\s+\S+\s+(?P<state>\S+)",
    prefix="#$",
    # -S: it does not look at the script's first line, and its usual shell is csh.
    header=(
        "-N {name}",
        "-q {queue}",
        "-P {account}",
        "-l h_rt={walltime}",
        "-S /bin/bash -j y -o {log}",
    ),
    resources=("-pe smp {slots}", "-l mem_free={core_memory}"),
    gpus="-l gpu={gpus}",
    clocks=((1,), (3600, 60, 1)),
    units={"": 1} | {letter.lower(): 1000 ** (n + 1) for n, letter in enumerate(LETTERS)},
    log=f"{JOB_NAME}-$JOB_ID.log",
)

SYSTEMS = {system.name: system for system in (SLURM, PBS, LSF, SGE)}
