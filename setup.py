"""The packages of the wheel; everything else is said in pyproject.toml.

The configurations stay in `experiments/` at the top of the repository, where people look for
them, and are installed as `lib/experiments`. pyproject.toml can either find packages or map
one to another folder, not both, hence this file.
"""

import sys

from setuptools import find_namespace_packages, find_packages, setup

packages = [
    *find_packages(include=["lib", "lib.*", "seqtrack"]),
    # Folders of data, which setuptools wants to hear of as well.
    "lib.datasets.splits",
    "lib.report.assets",
    "lib.serve.page",
]
places = {"": "."}
if "editable_wheel" not in sys.argv:
    configurations = find_namespace_packages("experiments")
    packages += ["lib.experiments", *(f"lib.experiments.{name}" for name in configurations)]
    places["lib.experiments"] = "experiments"
# With `pip install -e .` every package lies where it is called, so that setuptools puts this folder
# on Python's path. It would write an import hook otherwise, which Python asks after it has taken a
# clone called `seqtrack`, beside somebody's script, for the package.

setup(packages=packages, package_dir=places)
