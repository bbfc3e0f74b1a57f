"""Keys and certificates of a run, in a folder that nobody else may enter."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
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

    As `distributed.Security.temporary` makes them, but for the time from which they are valid,
    which there is that of the driver: nodes whose clocks are behind would be kept out.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from distributed import Security

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "dask-internal")])
    now, pem = datetime.now(UTC), serialization.Encoding.PEM
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("dask-internal")]), critical=False)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365))
        .sign(key, hashes.SHA256())
    )
    cert = certificate.public_bytes(pem).decode()
    plain = serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain).decode()
    parts = {"cert": cert, "key": private}
    of_roles = {f"tls_{role}_{part}": parts[part] for role in ROLES for part in parts}
    return Security(require_encryption=True, tls_ca_file=cert, **of_roles)


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
