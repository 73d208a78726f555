"""The packages of the wheel; everything else is said in pyproject.toml.

The configurations stay in `experiments/` at the top of the repository, where people look for
them, and are installed as `lib/experiments`. pyproject.toml can either find packages or map
one to another folder, not both, hence this file.
"""

from setuptools import find_namespace_packages, find_packages, setup

configurations = [f"lib.experiments.{name}" for name in find_namespace_packages("experiments")]

setup(
    packages=[
        *find_packages(include=["lib", "lib.*", "seqtrack"]),
        # Folders of data, which setuptools wants to hear of as well.
        "lib.datasets.splits",
        "lib.report.assets",
        "lib.serve.page",
        "lib.experiments",
        *configurations,
    ],
    package_dir={"lib.experiments": "experiments"},
)
