"""`seqtrack serve`, `python tracking/serve.py`: a page and an HTTP interface on this machine."""

import argparse
import contextlib
import ipaddress
import math
import secrets
import socket
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from lib.api import DEFAULT_CONFIG
from lib.commands._options import Parser, add_config, add_device, add_roots, parser, positive
from lib.commands.entry import say
from lib.config.paths import resolve_paths
from lib.serve.limits import ServeLimits
from lib.tracker.engine.names import AUTO, ENGINE_NAMES
from lib.utils.advice import extra
from lib.utils.errors import EXIT_OK, ConfigError, MissingExtraError

if TYPE_CHECKING:
    from lib.serve.guard import Gate

_PORT = 8642
_GRACE_SECONDS = 2
_DESCRIPTION = (
    "Serve a page on this machine: drop a video, draw boxes, watch them being tracked, correct, "
    "compare two models, download. Programs send a video to POST /track; /openapi.json describes "
    "it. Uploads are removed when a page is closed, and when the server ends."
)


def amount(text: str) -> float:
    """An argument that is a number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return value


# Option -> field of ServeLimits, what it is called, its type, and in words.
_LIMITS = {
    "--max-mb": ("megabytes", "MB", amount, "size of an upload"),
    "--max-pixels": ("pixels", "N", positive, "pixels of a picture, width times height"),
    "--max-seconds": ("seconds", "S", amount, "length of a video"),
    "--max-frames": ("frames", "N", positive, "frames of a video"),
    "--max-targets": ("targets", "N", positive, "targets of a request"),
    "--max-minutes": ("minutes", "M", amount, "time that a request may take, with waiting"),
    "--jobs": ("jobs", "N", positive, "requests that are tracked at once"),
    "--waiting": ("waiting", "N", positive, "requests that wait for these; others are refused"),
    "--sessions": ("sessions", "N", positive, "pages that are open at once"),
    "--idle-minutes": (
        "idle_minutes",
        "M",
        amount,
        "time after which the video of an unused page is removed",
    ),
}


def build_parser() -> Parser:
    p = parser("serve", _DESCRIPTION, "", "--port 9000 --config seqtrack_tiny", "--host 0.0.0.0")
    where = p.add_argument_group("where").add_argument
    where("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (default: "
          "127.0.0.1, which only this machine reaches; another one needs a token)")  # fmt: skip
    where("--port", type=_port, default=_PORT, metavar="N", help=f"port (default: {_PORT}; 0 takes "
          "a free one)")  # fmt: skip
    where(
        "--token",
        metavar="WORD",
        help="secret that pages and programs have to send (default: none on this machine alone; "
        "one is made and printed where others reach the server)",
    )
    where(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a further name by which the server is reached; may be repeated",
    )
    by = p.add_argument_group("by what")
    add_config(by, required=False, default=DEFAULT_CONFIG, help="configuration that the page "
               f"begins with (default: {DEFAULT_CONFIG})")  # fmt: skip
    add_device(by)
    by.add_argument(
        "--engine",
        default=AUTO,
        metavar="NAME",
        help=f"what runs the networks: {', '.join(ENGINE_NAMES)} (default: auto)",
    )
    _add_limits(p)
    add_roots(p)
    return p


def _add_limits(p: Parser) -> None:
    defaults = {one.name: one.default for one in fields(ServeLimits)}
    add = p.add_argument_group("limits").add_argument
    for option, (name, what, kind, words) in _LIMITS.items():
        default = defaults[name]
        add(
            option,
            dest=name,
            type=kind,
            default=default,
            metavar=what,
            help=f"{words} (default: {default})",
        )


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is no port, 0 to 65535")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    uvicorn = _uvicorn()
    from lib.serve.app import create_app
    from lib.serve.models import ModelPool
    from lib.serve.service import Service

    limits = ServeLimits(**{name: getattr(args, name) for name, *_ in _LIMITS.values()})
    paths = resolve_paths(args.data_dir, args.save_dir)
    models = ModelPool(paths, args.config, args.device, args.engine, limits.models)
    models.check_default()
    with _listening(args.host, args.port) as listener:
        gate = _gate(args, limits)
        with contextlib.closing(Service(models, limits)) as service:
            _announce(args.host, listener.getsockname()[1], gate.token)
            settings = uvicorn.Config(
                create_app(service, gate),
                log_level="warning",
                timeout_graceful_shutdown=_GRACE_SECONDS,
                server_header=False,
            )
            uvicorn.Server(settings).run(sockets=[listener])
    return EXIT_OK


def _gate(args: argparse.Namespace, limits: ServeLimits) -> "Gate":
    """Who is let in."""
    from lib.serve.guard import LOOPBACK, Gate

    names = [*LOOPBACK, args.host.lower(), *map(str.lower, args.allow_host)]
    anywhere = args.host in ("0.0.0.0", "::", "")
    if anywhere:
        names.append(socket.gethostname().lower())
    alone = _is_loopback(args.host)
    token = args.token or ("" if alone else secrets.token_urlsafe(18))
    return Gate(tuple(dict.fromkeys(names)), anywhere, token, limits.bytes)


def _uvicorn():  # type: ignore[no-untyped-def]
    """The package. Raises MissingExtraError: it, or what else is needed, is not installed."""
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise MissingExtraError(f"serve needs {error.name}: {extra('serve')}") from None
    return uvicorn


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ConfigError: the address is not this machine's, or the port is taken.
    """
    try:
        family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(
            f"--host {host} --port {port}: cannot listen there ({reason}); choose another --port"
        ) from None


def _announce(host: str, port: int, token: str) -> None:
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    shown = f"[{shown}]" if ":" in shown else shown
    link = f"http://{shown}:{port}/" + (f"?token={token}" if token else "")
    say(f"open {link} (Ctrl-C ends the server)")
