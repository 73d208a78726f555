"""What tests of the exported network share."""

import pytest


@pytest.fixture(scope="session")
def onnx_folder(tmp_path_factory):
    """Where exported networks are kept: an export takes many seconds, so each is made once."""
    return tmp_path_factory.mktemp("onnx")
