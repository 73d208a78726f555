"""The packages of the wheel; everything else is said in pyproject.toml.

The configurations stay in `experiments/` at the top of the repository, where people look for
them, and are installed as `lib/experiments`. pyproject.toml can either find packages or map
one to another folder, not both, hence this file.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["lib", "lib.*"]), "lib.experiments"],
    package_dir={"lib.experiments": "experiments"},
)
