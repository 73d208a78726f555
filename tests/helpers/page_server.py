"""The application of `seqtrack serve` for tests: in this process, or behind a real socket."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from starlette.testclient import TestClient

from lib.config.paths import resolve_paths
from lib.serve.app import create_app
from lib.serve.guard import Gate
from lib.serve.limits import ServeLimits
from lib.serve.models import ModelPool
from lib.serve.service import Service
from tests.helpers.tiny import draw_sequence
from tests.helpers.video_files import write_av

# Quick, and it does follow.
MODEL = "template_match/default"
HOST = "127.0.0.1"
BOX = "10,20,18,14"


def make_service(folder: Path, model: str = MODEL, **limits: float) -> Service:
    """A service whose uploads lie below `folder`."""
    models = ModelPool(resolve_paths(), model, "cpu")
    return Service(models, ServeLimits(**limits), folder / "uploads")


def client_of(service: Service, gate: Gate | None = None) -> TestClient:
    """Asks the application as a program of this machine does."""
    return TestClient(create_app(service, gate), base_url=f"http://{HOST}:8642")


@contextlib.contextmanager
def serving(service: Service) -> Iterator[int]:
    """The port of a server that runs meanwhile."""
    with socket.create_server((HOST, 0)) as listener:
        app = create_app(service)
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1, lifespan="on")
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def write_clip(path: Path, length: int = 8, width: int = 96, height: int = 80) -> Path:
    """A video file of a square that moves, which `BOX` holds in the first frame."""
    return write_av(path, draw_sequence(length, width, height)[0])


def left_files(folder: Path) -> list[Path]:
    """Uploaded files that are there."""
    return [
        path for path in (folder / "uploads").rglob("*") if path.is_file() and path.name != "lock"
    ]
