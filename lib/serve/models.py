"""The trackers that a server has: one of each, shared by all who ask for it."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from lib.api import DEFAULT_CONFIG, Tracker, with_engine
from lib.config.loader import list_configs
from lib.config.paths import Paths
from lib.models.weights import find_checkpoint
from lib.tracker.engine.names import AUTO
from lib.tracker.registry import make_spec, trackers, with_checkpoint
from lib.tracker.spec import TrackerSpec
from lib.utils.errors import CheckpointError, ConfigError, did_you_mean
from lib.video.clip import Result

DEFAULT_TRACKER = "seqtrack"


@dataclass(eq=False)
class SharedTracker:
    """A tracker whose targets are followed in turns, a frame at a time.

    Attributes:
        name: as it is asked for.
        tracker: with the one network of that name.
        lock: held during a frame.
    """

    name: str
    tracker: Tracker
    lock: threading.Lock = field(default_factory=threading.Lock)

    def in_turn(self, results: Iterator[Result]) -> Iterator[Result]:
        """The results, each of them computed while nobody else computes."""
        while True:
            with self.lock:
                result = next(results, None)
            if result is None:
                return
            yield result


class ModelPool:
    """Builds a tracker when it is first asked for, and keeps the last ones.

    Args:
        paths: where weights lie.
        default: the model of a request that names none.
        device: as `Tracker` takes it.
        engine: as `Tracker` takes it.
        most: trackers in memory.
    """

    def __init__(
        self,
        paths: Paths,
        default: str = DEFAULT_CONFIG,
        device: str = "auto",
        engine: str = AUTO,
        most: int = 3,
    ) -> None:
        self.paths, self.default, self.device, self.engine = paths, default, device, engine
        self.most = most
        self._built: dict[str, SharedTracker] = {}
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Configurations whose weights are here, the default first, then trackers without any."""
        found = [name for name in list_configs() if self._has_weights(name)]
        others = [f"{row.name}/default" for row in trackers().values() if not row.has_config]
        return list(dict.fromkeys([self.default, *found, *others]))

    def check_default(self) -> None:
        """Refuse a default that cannot be built, before anybody asks for it.

        Raises:
            ConfigError: there is no such configuration, or tracker.
            CheckpointError: it has no weights.
        """
        self._spec(self.default)

    def _spec(self, name: str) -> TrackerSpec:
        tracker, slash, config = name.partition("/")
        if not slash:
            tracker, config = DEFAULT_TRACKER, name
        spec = with_checkpoint(make_spec(tracker, config, []), None, self.paths, "DEFAULT")
        # A tracker without a network has no engine to choose.
        return with_engine(spec, self.engine if spec.config else AUTO, None)

    def _has_weights(self, config: str) -> bool:
        try:
            find_checkpoint(config, self.paths.checkpoint_dirs(config))
        except CheckpointError:
            return False
        return True

    def check(self, name: str | None) -> str:
        """The name of a model that is here.

        Raises:
            ConfigError: there is none of that name.
        """
        known = self.names()
        if name and name not in known:
            raise ConfigError(
                f"unknown model {name!r}{did_you_mean(name, known)}; choose one of "
                f"{', '.join(known)}"
            )
        return name or self.default

    def get(self, name: str) -> SharedTracker:
        """The tracker of a name that `check` gave; building it takes seconds.

        Raises:
            SeqTrackError: it cannot be built.
        """
        with self._lock:
            if name not in self._built:
                tracker = Tracker(self._spec(name), device=self.device)
                self._built[name] = SharedTracker(name, tracker)
            # The last one used stands last.
            self._built[name] = shared = self._built.pop(name)
            while len(self._built) > self.most:
                del self._built[next(iter(self._built))]
        return shared

    def close(self) -> None:
        """Let all networks go."""
        with self._lock:
            self._built.clear()
