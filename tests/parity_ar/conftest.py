"""The mask kit: numbers recorded from the original mask network, and the recipe behind them.

The kit's folder is SEQTRACK_AR_KIT, by default tests/kits/alpha_refine. The recipe
(`ar_parity.py`) is imported from the same folder. Tolerances are those of the README there.
"""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

DEFAULT_KIT = Path(__file__).parents[1] / "kits" / "alpha_refine"
KIT = Path(os.environ.get("SEQTRACK_AR_KIT") or DEFAULT_KIT).resolve()


def _import_recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ar_recipe", KIT / "ar_parity.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


recipe = _import_recipe()
