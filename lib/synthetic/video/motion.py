"""Smooth random motion: paths, cameras and poses as arrays over all frames of a sequence."""

import numpy as np


def smooth(path: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian average of `(T,)` or `(T, K)` along time; the ends are held."""
    reach = max(1, int(3 * sigma))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(sigma, 1e-6)) ** 2)
    kernel /= kernel.sum()
    columns = path.reshape(len(path), -1)
    padded = np.pad(columns, ((reach, reach), (0, 0)), mode="edge")
    done = [np.convolve(padded[:, k], kernel, mode="valid") for k in range(columns.shape[1])]
    return np.stack(done, axis=1).reshape(path.shape)


def wander(
    rng: np.random.Generator, length: int, low: np.ndarray, high: np.ndarray, interval: float
) -> np.ndarray:
    """A path through random points of a box, with rounded turns and changing speed.

    Args:
        low: `(K,)` lower corner of the box.
        high: `(K,)` upper corner.
        interval: mean number of frames between two points.

    Returns:
        `(length, K)` float64, inside the box.
    """
    count = int(length / interval) + 4
    knots = np.cumsum(interval * rng.uniform(0.6, 1.4, count))
    knots -= knots[0]
    points = rng.uniform(low, high, (count, len(low)))
    time = np.arange(length)
    straight = [np.interp(time, knots, points[:, k]) for k in range(len(low))]
    return smooth(np.stack(straight, axis=1), 0.28 * interval)


def waver(rng: np.random.Generator, length: int, reach: float, interval: float) -> np.ndarray:
    """A smooth scalar path `(length,)` within +-`reach`."""
    return wander(rng, length, np.array([-reach]), np.array([reach]), interval)[:, 0]


def bump(length: int, center: float, width: float) -> np.ndarray:
    """A smooth rise to 1 at frame `center` and back, `(length,)`; `width` is its deviation."""
    return np.exp(-0.5 * ((np.arange(length) - center) / width) ** 2)


def similarity(
    position: np.ndarray, scale: np.ndarray, angle: np.ndarray, squeeze: np.ndarray | float = 1.0
) -> np.ndarray:
    """Matrices `(T, 3, 3)` that squeeze in x, turn, scale, and move to `position` `(T, 2)`."""
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    matrices = np.zeros((len(position), 3, 3))
    matrices[:, 0, 0], matrices[:, 0, 1] = cos * squeeze, -sin
    matrices[:, 1, 0], matrices[:, 1, 1] = sin * squeeze, cos
    matrices[:, :2, 2] = position
    matrices[:, 2, 2] = 1
    return matrices


def about(matrices: np.ndarray, center: tuple[float, float]) -> np.ndarray:
    """The same linear maps `(T, 3, 3)`, but with `center` as their fixed point."""
    there = np.eye(3)
    there[:2, 2] = center
    back = np.eye(3)
    back[:2, 2] = -np.asarray(center)
    return there @ matrices @ back


def apply(matrices: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Transform points: `(T, 3, 3)` and `(N, 2)` or `(T, N, 2)` give `(T, N, 2)`."""
    turned = points @ np.swapaxes(matrices[:, :2, :2], 1, 2)
    return turned + matrices[:, None, :2, 2]


def camera_path(
    rng: np.random.Generator,
    length: int,
    size: tuple[int, int],
    pan: float,
    zoom: float,
    roll: float,
) -> np.ndarray:
    """Matrices `(T, 3, 3)` from world pixels (0, 0 at the centre) to frame pixels.

    Args:
        pan: travel to either side, as a share of the frame size.
        zoom: log-range of magnification.
        roll: degrees to either side.
    """
    frame = np.asarray(size, np.float64)
    middle = wander(rng, length, -pan * frame, pan * frame, 40)
    scale = np.exp(waver(rng, length, zoom, 45))
    angle = np.deg2rad(waver(rng, length, roll, 35))
    still = similarity(np.zeros((length, 2)), scale, angle)
    still[:, :2, 2] = frame / 2 - apply(still, middle[:, None, :])[:, 0]
    return still


def hand_shake(
    rng: np.random.Generator, length: int, size: tuple[int, int], strength: float
) -> np.ndarray:
    """Small quick motions of the camera in pixels, as matrices `(T, 3, 3)` frame to frame."""
    reach = np.full(2, 1.8 * strength)
    offset = wander(rng, length, -reach, reach, 5)
    angle = np.deg2rad(waver(rng, length, 0.25 * strength, 6))
    turned = about(
        similarity(np.zeros((length, 2)), np.ones(length), angle), (size[0] / 2, size[1] / 2)
    )
    turned[:, :2, 2] += offset
    return turned
