"""Functions for ``--cluster tests.my_clusters:NAME``, good ones and bad ones."""

import sys

from distributed import Client, LocalCluster

ended = []

number = 42


class Told(LocalCluster):
    """A cluster that tells when it is closed."""

    def close(self, *arguments, **options):
        ended.append(self)
        return super().close(*arguments, **options)


def cluster(workers=1):
    """Threads of this process will do."""
    return Told(
        n_workers=workers, processes=False, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    )


def client():
    return Client(cluster())


def closed():
    with cluster() as own, Client(own) as found:
        return found


def nobody():
    return cluster(0)


def broken():
    raise RuntimeError("the gateway\nis closed today")


def leaving():
    sys.exit("no allocation left")


def something_else():
    return "tcp://127.0.0.1:8786"
