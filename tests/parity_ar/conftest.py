"""The mask kit: numbers recorded from the original mask network, and the recipe behind them.

The kit's folder is SEQTRACK_AR_KIT, by default tests/kits/alpha_refine. The recipe
(`ar_parity.py`) is imported from the same folder. Tolerances are those of the README there.
"""

import os
from pathlib import Path

from tests.kit_scripts import import_script

DEFAULT_KIT = Path(__file__).parents[1] / "kits" / "alpha_refine"
KIT = Path(os.environ.get("SEQTRACK_AR_KIT") or DEFAULT_KIT).resolve()
recipe = import_script(KIT / "ar_parity.py")
