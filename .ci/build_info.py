"""Hook of the wheel's build: writes the commit that it is built from into ``pipeline.build_info``.

An installed package has no history that git could be asked about.
"""

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CommitHook(BuildHookInterface):
    """Adds one generated module to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the module aside, and have it included; not for an editable installation."""
        if version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory()
        module = Path(self._folder.name, "build_info.py")
        text = '"""Written when this wheel was built."""\n\nCOMMIT = '
        module.write_text(f'{text}"{self._commit()}"\n')
        build_data["force_include"][str(module)] = "pipeline/build_info.py"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was written aside."""
        if version != "editable":
            self._folder.cleanup()

    def _commit(self) -> str:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
        try:
            done = subprocess.run(
                command, cwd=self.root, capture_output=True, text=True, check=False
            )
        except OSError:  # no git, of an unpacked archive say
            return "unknown"
        return done.stdout.strip() or "unknown"
