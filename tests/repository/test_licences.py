"""Nothing that the project needs is under a licence that would bind those who use it."""

from email.message import Message
from types import SimpleNamespace

import pytest

from lib.utils.errors import EXIT_OK, EXIT_PARTIAL
from tests.repository import licences


def package(name: str, *facts: tuple[str, str]) -> SimpleNamespace:
    metadata = Message()
    for key, value in facts:
        metadata[key] = value
    return SimpleNamespace(name=name, metadata=metadata)


CLASSIFIERS = (
    ("License", "see LICENSE"),
    ("Classifier", "Topic :: Science"),
    ("Classifier", "License :: OSI Approved :: MIT License"),
    ("Classifier", "License :: OSI Approved :: BSD License"),
)


@pytest.mark.parametrize(
    ("facts", "licence"),
    [
        ((("License-Expression", "MIT"), *CLASSIFIERS), "MIT"),
        (CLASSIFIERS, "MIT License, BSD License"),
        ((("License", "Apache 2.0\nand all its text"),), "Apache 2.0"),
        ((), "not said"),
    ],
    ids=["an expression", "classifiers", "a text", "nothing"],
)
def test_what_a_package_says(facts, licence) -> None:
    assert licences.licence_of(package("a", *facts)) == licence


def test_all_that_is_needed_is_looked_at() -> None:
    names = {one.name for one in licences.needed("seqtrack", [])}
    # Of ours, of timm's, and of an extra that gdown asks of requests.
    assert {"seqtrack", "torch", "huggingface_hub", "PySocks"} <= names
    assert not {"pytest", "fastapi"} & names
    assert "fastapi" in {one.name for one in licences.needed("seqtrack", ["serve"])}


def test_nothing_that_is_needed_is_under_the_gpl(capsys) -> None:
    assert licences.main([]) == EXIT_OK
    assert "seqtrack" in capsys.readouterr().out


@pytest.mark.parametrize("licence", ["GPL-3.0-only", "GNU Lesser General Public License (LGPL)"])
def test_the_gpl_is_found(licence, monkeypatch, capsys) -> None:
    found = [package("a", ("License-Expression", licence)), package("b")]
    monkeypatch.setattr(licences, "needed", lambda root, extras: found)
    assert licences.main([]) == EXIT_PARTIAL
    assert f"| {licence} | a |" in capsys.readouterr().out
