"""Checkpoints as other programs write them, good and bad, for several tests."""

import contextlib
import sys
import types
import zipfile

import pytest
import torch

from lib.utils.checkpoint import load_tensors
from lib.utils.errors import CheckpointError

ZIP_AND_OLD = pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "old"])


@contextlib.contextmanager
def foreign_classes(*full_names, bases=(object,)):
    """Classes that exist only while a file is written, as those of another program do."""
    before = dict(sys.modules)
    made = []
    for full_name in full_names:
        module_name, name = full_name.rsplit(".", 1)
        parts = module_name.split(".")
        for i in range(1, len(parts) + 1):
            part = ".".join(parts[:i])
            if part not in sys.modules:
                sys.modules[part] = types.ModuleType(part)
        made.append(type(name, bases, {"__module__": module_name}))
        setattr(sys.modules[module_name], name, made[-1])
    try:
        yield made[0] if len(made) == 1 else made
    finally:
        for full_name in full_names:
            module_name, name = full_name.rsplit(".", 1)
            delattr(sys.modules[module_name], name)
        sys.modules.clear()
        sys.modules.update(before)


def write(path, payload, as_zip=True, protocol=2):
    torch.save(payload, path, _use_new_zipfile_serialization=as_zip, pickle_protocol=protocol)
    return path


def write_pickle(path, code: bytes):
    """A zip checkpoint around hand-written pickle code."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", code)
        archive.writestr("archive/version", "3\n")
    return path


def refusal(path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_tensors(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message
