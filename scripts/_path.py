"""Put the repository first on the import path: every tracker's code has a package called lib."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
