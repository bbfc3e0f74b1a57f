"""Keys and certificates of a run, in a folder that nobody else may enter."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from pipeline.cluster.common import WORKER_ENVIRONMENT
from pipeline.store.files import TEMPORARY

ROLES = ("scheduler", "worker", "client")


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


def temporary() -> Any:
    """Dask's `Security` object with a key and a certificate made for one run, in memory only.

    Dask's own is valid from the moment it is made, which on nodes whose clocks are behind is yet
    to come: this one is from a day earlier on.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from distributed import Security

    made = Security.temporary()
    key: Any = serialization.load_pem_private_key(made.tls_scheduler_key.encode(), None)
    now = x509.load_pem_x509_certificate(made.tls_ca_file.encode())
    since, until = now.not_valid_before_utc - timedelta(days=1), now.not_valid_after_utc
    names = (now.issuer, now.subject, now.public_key(), now.serial_number)
    earlier = x509.CertificateBuilder(*names, since, until, list(now.extensions))
    signed = earlier.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    for name in ("tls_ca_file", *(f"tls_{role}_cert" for role in ROLES)):
        setattr(made, name, signed.decode())
    return made


def write_credentials(folder: Path) -> None:
    """Make keys and certificates for this run, and a configuration of Dask that names them.

    Jobs that have ``DASK_CONFIG`` set to the folder find them by that configuration.
    """
    import yaml

    made = temporary()
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
        "worker": {"http": {"routes": []}},
    }
    (folder / "dask.yaml").write_text(yaml.safe_dump({"distributed": config}))


def security(folder: Path) -> Any:
    """Dask's `Security` object for scheduler and client, from the credentials in the folder."""
    from distributed import Security

    return Security(
        require_encryption=True, **{name: str(path) for name, path in _key_files(folder).items()}
    )


def _key_files(folder: Path) -> dict[str, Path]:
    roles = [f"{role}_{part}" for role in ROLES for part in ("cert", "key")]
    return {f"tls_{name}": folder / f"{name}.pem" for name in ("ca_file", *roles)}
