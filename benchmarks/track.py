"""One frame: an engine beside the published method, in turns, on the same crops."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.machine import matrix_product
from benchmarks.turns import take_turns
from lib.config.schema import Config
from lib.profile.scene import Workload
from lib.profile.stages import Times
from lib.profile.work import frame_macs
from lib.tracker.agreement import Agreement, box_distance
from lib.tracker.engine.api import Engine
from lib.tracker.engine.build import build_engine
from lib.tracker.engine.names import PRECISIONS

REFERENCE, PRODUCT = "reference", "matrix product"
# Below this share of the matrix peak the reference fails the sanity check, and the ratio is void.
LEAST_SHARE = 0.5


@dataclass(frozen=True)
class Candidate:
    """An engine in one of its precisions, with so many targets at a time."""

    engine: str
    precision: str = "fp32"
    batch: int = 1

    @property
    def label(self) -> str:
        """Names it in tables."""
        extra = "" if self.precision == "fp32" else f" {self.precision}"
        return f"{self.engine}{extra}" + ("" if self.batch == 1 else f" x{self.batch}")


def candidates(
    engines: Sequence[str], precisions: Sequence[str], batches: Sequence[int]
) -> list[Candidate]:
    """All combinations that there are; an engine without a precision is left out there."""
    return [
        Candidate(engine, precision, batch)
        for engine in engines
        for precision in precisions
        for batch in batches
        if precision in PRECISIONS[engine]
    ]


@dataclass
class TrackBenchmark(Workload):
    """Measures candidates on a scene, each beside the reference.

    Attributes:
        rounds: calls of each alternative.
        seconds: for each situation of the templates; it ends sooner when that time is over.
    """

    rounds: int
    seconds: float

    def run(self, wanted: Sequence[Candidate]) -> dict[str, Any]:
        """Measure; the top level of the result is that of equal templates and batch 1."""
        engines = {
            (one.engine, one.precision): build_engine(
                one.engine, self.network, self.cfg, one.precision
            )
            for one in wanted
        }
        engines[REFERENCE, "fp32"] = build_engine(REFERENCE, self.network, self.cfg)
        rows: list[dict[str, Any]] = []
        for situation in self.situations():
            rows += self._situation(situation, wanted, engines)
        return summary(rows, self.cfg)

    def _situation(
        self,
        situation: str,
        wanted: Sequence[Candidate],
        engines: dict[tuple[str, str], Engine],
    ) -> list[dict[str, Any]]:
        reference = engines[REFERENCE, "fp32"]
        reference.keep_distributions = True
        kept = {k: self.scene.templates(self.settings, e, situation) for k, e in engines.items()}
        multiply, product_gflop = matrix_product(self.device)
        works = {PRODUCT: multiply}

        def call(engine: Engine, row: tuple, batch: int, number: int) -> Any:
            numbers = range(number * batch, (number + 1) * batch)
            return engine.generate([row] * batch, self.scene.search(self.settings, numbers))

        def work_of(key: tuple[str, str], batch: int) -> Any:
            return lambda number: call(engines[key], kept[key], batch, number)

        works[REFERENCE] = work_of((REFERENCE, "fp32"), 1)
        for one in wanted:
            works[one.label] = work_of((one.engine, one.precision), one.batch)
        notes = {one.label: _Note(one, self.settings.search_size) for one in wanted}

        def seen(number: int, results: dict[str, Any]) -> None:
            for one in wanted:
                if one.batch == 1:
                    what = f"{situation} templates, frame {number % len(self.scene.images)}"
                    notes[one.label].add(what, results[REFERENCE], results[one.label])

        times = take_turns(works, self.device, self.rounds, self.seconds, seen)
        return self._rows(situation, times, wanted, notes, product_gflop)

    def _rows(
        self,
        situation: str,
        times: dict[str, Times],
        wanted: Sequence[Candidate],
        notes: dict[str, "_Note"],
        product_gflop: float,
    ) -> list[dict[str, Any]]:
        peak = product_gflop / times[PRODUCT].median * 1e3
        slow = times[REFERENCE].median
        count = self.settings.num_templates

        def row(label: str, distinct: int | None, batch: int) -> dict[str, Any]:
            macs = frame_macs(self.network, self.cfg, distinct)
            median = times[label].median
            rate = 2e-6 * macs.all * batch / median
            return {
                "situation": situation,
                "what": label,
                **times[label].row(),
                "frames_per_s": round(1e3 * batch / median, 2),
                "ratio_to_reference": round(slow * batch / median, 4),
                "gflops": round(rate, 2),
                "share_of_peak": round(rate / peak, 4),
                "gmac_linear_conv": round(macs.linear_conv / 1e9, 4),
                "gmac_all": round(macs.all / 1e9, 4),
            }

        product = {"situation": situation, "what": PRODUCT, **times[PRODUCT].row()}
        rows = [{**product, "gflops": round(peak, 2)}, row(REFERENCE, None, 1)]
        for one in wanted:
            distinct = 1 if situation == "equal" else count
            rows.append({**row(one.label, distinct, one.batch), **notes[one.label].row()})
        return rows


class _Note:
    """What was seen of one candidate's answers beside the reference's."""

    def __init__(self, candidate: Candidate, side: int) -> None:
        self.candidate, self.side = candidate, side
        self.agreement = Agreement()
        self.distances: list[float] = []

    def add(self, what: str, reference: Any, other: Any) -> None:
        self.agreement.add(what, reference, other)
        self.distances += box_distance(reference.boxes, other.boxes, self.side).tolist()

    def row(self) -> dict[str, Any]:
        """Nothing for batches, which answer about other frames than the reference."""
        if not self.distances:
            return {}
        far = torch.tensor(self.distances)
        return {
            "tokens_equal": self.agreement.equal,
            "tokens": self.agreement.tokens,
            "ties": self.agreement.ties,
            "wrong": self.agreement.wrong,
            "box_px_max": round(float(far.max()), 3),
            "box_px_99": round(float(np.percentile(self.distances, 99)), 3),
            "boxes_within_1px": round(float((far <= 1).double().mean()), 4),
        }


def summary(rows: list[dict[str, Any]], cfg: Config) -> dict[str, Any]:
    """The record: headline numbers of PyTorch in fp32 with equal templates, then all rows."""
    by = {(row["situation"], row["what"]): row for row in rows}
    first = by["equal", REFERENCE]
    ours = by.get(("equal", "torch"))
    share = first["share_of_peak"]
    exact = [
        row
        for row in rows
        if "tokens_equal" in row and not row["what"].endswith(("bf16", "fp16", "int8"))
    ]
    after = by.get(("different", "torch"))
    return {
        "config": cfg.name,
        "ratio_to_reference": None if ours is None else ours["ratio_to_reference"],
        "ratio_after_update": None if after is None else after["ratio_to_reference"],
        "reference_ms": first["median_ms"],
        "gemm_gflops": by["equal", PRODUCT]["gflops"],
        "reference_share_of_peak": share,
        "ratio_is_void": share < LEAST_SHARE,
        "tokens_equal": bool(exact) and all(row["tokens_equal"] for row in exact),
        "rows": rows,
    }
