"""Keys and certificates of a run, in a folder that nobody else may enter."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.cluster.common import WORKER_ENVIRONMENT
from pipeline.store.files import TEMPORARY


@contextmanager
def private_folder(store: Path) -> Iterator[Path]:
    """Make a folder in the store that only this user may enter, and remove it afterwards.

    A driver that is killed leaves it behind. By then its keys open nothing, and `kronsbl gc`
    sweeps it out.
    """
    store.mkdir(parents=True, exist_ok=True)
    # mkdtemp gives it the mode 0700. The suffix is what `kronsbl gc` knows it by.
    folder = Path(tempfile.mkdtemp(prefix=".private-", suffix=TEMPORARY, dir=store.resolve()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_credentials(folder: Path) -> None:
    """Make keys and certificates for this run, and a configuration of Dask that names them.

    Jobs that have ``DASK_CONFIG`` set to the folder find them by that configuration.
    """
    import yaml
    from distributed import Security

    made = Security.temporary()
    files = _key_files(folder)
    for name, path in files.items():
        path.touch(mode=0o600)  # before there is anything to read in it
        path.write_text(getattr(made, name))
    worker = {"cert": str(files["tls_worker_cert"]), "key": str(files["tls_worker_key"])}
    config = {
        "comm": {
            "require-encryption": True,
            "tls": {"ca-file": str(files["tls_ca_file"]), "worker": worker},
        },
        # Here and not in the job script: nannies overwrite what a script has exported.
        "nanny": {"pre-spawn-environ": WORKER_ENVIRONMENT},
    }
    (folder / "dask.yaml").write_text(yaml.safe_dump({"distributed": config}))


def security(folder: Path) -> Any:
    """Dask's `Security` object for scheduler and client, from the credentials in the folder."""
    from distributed import Security

    return Security(
        require_encryption=True, **{name: str(path) for name, path in _key_files(folder).items()}
    )


def _key_files(folder: Path) -> dict[str, Path]:
    roles = [
        f"{role}_{part}" for role in ("scheduler", "worker", "client") for part in ("cert", "key")
    ]
    return {f"tls_{name}": folder / f"{name}.pem" for name in ("ca_file", *roles)}
