"""What a server takes and gives at most, and how a refusal is said."""

from dataclasses import dataclass

from lib.utils.errors import SeqTrackError


@dataclass(frozen=True)
class ServeLimits:
    """Limits of a server, with their defaults.

    Attributes:
        megabytes: of what is uploaded in one request.
        pixels: of a picture, width times height.
        seconds: of a video.
        frames: of a video.
        pictures: of one request that has no video.
        targets: of one request or session.
        jobs: that run at once.
        waiting: jobs that wait for those; more are sent away.
        minutes: that one job may take, waiting included.
        sessions: open pages.
        idle_minutes: after which a session that nobody uses ends.
        models: networks in memory.
    """

    megabytes: float = 512
    pixels: int = 9_000_000
    seconds: float = 600
    frames: int = 20_000
    pictures: int = 1000
    targets: int = 32
    jobs: int = 2
    waiting: int = 16
    minutes: float = 30
    sessions: int = 8
    idle_minutes: float = 30
    models: int = 3

    @property
    def bytes(self) -> int:
        """Of a request's body."""
        return round(self.megabytes * 1e6)

    def check_size(self, width: int, height: int, what: str) -> None:
        """Refuse a picture that is too large, before it is decoded.

        Raises:
            RefusedRequest: naming both.
        """
        if width * height > self.pixels:
            raise RefusedRequest(
                413,
                f"{what} is {width} x {height}, {width * height} pixels; at most {self.pixels} are "
                "taken (--max-pixels)",
            )

    def check_length(self, frames: int | None, fps: float, what: str) -> None:
        """Refuse a clip that is too long.

        Raises:
            RefusedRequest: naming what it has, and what is taken.
        """
        if frames is None:
            return
        if frames > self.frames:
            raise RefusedRequest(
                413, f"{what} has {frames} frames; at most {self.frames} are taken (--max-frames)"
            )
        if frames / fps > self.seconds:
            raise RefusedRequest(
                413,
                f"{what} lasts {frames / fps:.0f} seconds; at most {self.seconds:g} are taken "
                "(--max-seconds)",
            )

    def check_targets(self, count: int) -> None:
        """Refuse too many targets.

        Raises:
            RefusedRequest: naming both numbers.
        """
        if count > self.targets:
            raise RefusedRequest(
                422, f"{count} targets; at most {self.targets} are tracked (--max-targets)"
            )


class RefusedRequest(SeqTrackError):
    """A request that is not answered as it was meant.

    Args:
        status: of HTTP.
        text: one line for who asked.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
