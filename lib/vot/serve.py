"""The tracker process that the VOT toolkit starts."""

import argparse
import contextlib
import logging
import os
import sys
import time
from pathlib import Path

from lib.masks.base import build_refiner
from lib.tracker.build import build_tracker
from lib.utils.device import resolve_device
from lib.utils.errors import SeqTrackError
from lib.vot.client import Session, import_trax
from lib.vot.client import serve as answer
from lib.vot.entry import TrackerParts, find_parts
from lib.vot.workspace import CODE_ROOT

# The toolkit reads words and protocol from one pipe; only whole lines may go there.
_FORMAT = "%(asctime)s %(message)s"


def serve(args: argparse.Namespace) -> None:
    """Build the tracker, then answer the toolkit until it has had enough.

    Raises:
        SeqTrackError: the tracker cannot be built or cannot go on; the log says so too.
    """
    log_file = open_log(CODE_ROOT / args.workspace / "logs" / args.name)
    log = logging.getLogger("lib.vot")
    # What libraries print must not get between the lines of the protocol.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            log.info(f"{args.name}, a tracker process of the VOT toolkit")
            _serve(args, find_parts(args), log)
        except SeqTrackError as error:
            log.error(f"error: {error}")
            raise
        except Exception:
            # Its traceback goes to the toolkit's log as well, which is not kept for every run.
            log.exception("error: this is a mistake in the program")
            raise
        finally:
            log.info("the end")
            logging.getLogger("lib.vot").removeHandler(log_file)
            log_file.close()


def _serve(args: argparse.Namespace, made: TrackerParts, log: logging.Logger) -> None:
    import_trax()
    began = time.perf_counter()
    device = resolve_device(args.device)
    tracker = build_tracker(made.spec, device)
    refiner = build_refiner(made.refiner, made.refiner_weights, device) if made.refiner else None
    session = Session(tracker, refiner)
    # Before the toolkit is greeted: neither its patience nor the clock of real time runs yet.
    session.warm_up()
    log.info(
        f"weights {made.spec.checkpoint or '-'}, masks {made.refiner_weights or '-'}, {device}, "
        f"template update of {made.spec.update_key}; ready after "
        f"{time.perf_counter() - began:.1f} seconds"
    )
    answer(session, args.name)


def open_log(folder: Path) -> logging.Handler:
    """A log of this process in a folder; where nothing can be written, there is none."""
    logger = logging.getLogger("lib.vot")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    handler: logging.Handler
    try:
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
        handler = logging.FileHandler(folder / name, encoding="utf-8")
    except OSError:
        handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT))
    logger.addHandler(handler)
    return handler
