"""What lies in the var folder is for its owner only."""

from __future__ import annotations

import stat
from pathlib import Path

from ringroad.cli.supervisor import prepare_var
from ringroad.storage.settings import Settings


def test_telemetry_images_and_logs_are_for_their_owner_only(tmp_path: Path) -> None:
    settings = Settings(var=tmp_path / "var")
    prepare_var(settings)
    for folder in (settings.lake, settings.blobs, settings.log, settings.run):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
