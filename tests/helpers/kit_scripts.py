"""Scripts that lie in the kits' folders, which are no packages."""

import importlib.util
from pathlib import Path
from types import ModuleType


def import_script(path: Path) -> ModuleType:
    """The script as a module; it is known to nobody else."""
    spec = importlib.util.spec_from_file_location(f"kit_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
