"""The mask kit: numbers recorded from the original mask network, and the recipe behind them.

The kit's folder is SEQTRACK_AR_KIT, by default tests/kits/alpha_refine. Another kit may hold any
subset of the files, with other cases; the recipe (`ar_parity.py`) and the keys of the network are
then ours where it has none. Tolerances are those of the README there.
"""

import os
from pathlib import Path

from tests.helpers.kit_scripts import import_script

DEFAULT_KIT = Path(__file__).parents[1] / "kits" / "alpha_refine"
KIT = Path(os.environ.get("SEQTRACK_AR_KIT") or DEFAULT_KIT).resolve()


def kit_file(name: str) -> Path | None:
    """A file of the kit; None where another kit than the repository's does not hold it."""
    path = KIT / name
    return path if path.exists() or DEFAULT_KIT.resolve() == KIT else None


recipe = import_script(kit_file("ar_parity.py") or DEFAULT_KIT / "ar_parity.py")
