"""Places where a store may lie, for tests that hold for all of them."""

from pipeline.store.objects import LocalFiles
from pipeline.store.packs import PackedFiles

IDENTITY = b'format = 2\nname = "objects"\nscenario = "synthetic"\nseed = 1\nbatch = 1\n'


class InMemory:
    """Objects of this process."""

    def __init__(self):
        self._held = {}

    def put(self, name, data):
        self._held[name] = bytes(data)

    def create(self, name, data):
        return self._held.setdefault(name, data) is data

    def get(self, name):
        try:
            return self._held[name]
        except KeyError:
            raise FileNotFoundError(name) from None

    def list(self, prefix=""):
        yield from [name for name in self._held if name.startswith(prefix)]

    def delete(self, *names):
        for name in names:
            self._held.pop(name, None)

    def __contains__(self, name):
        return name in self._held


class AlwaysPacked(PackedFiles):
    """Local files that are packed as soon as they are written."""

    def put(self, name, data):
        super().put(name, data)
        self._pack()

    def create(self, name, data):
        made = super().create(name, data)
        self._pack()
        return made

    def delete(self, *names):
        super().delete(*names)
        self._pack()

    def _pack(self):
        if "campaign.toml" in self:
            self.pack()


KINDS = {
    "local": LocalFiles,
    "loose": PackedFiles,
    "packed": AlwaysPacked,
    "memory": lambda _: InMemory(),
}
