"""A server that has run for long needs no more than one that has just begun."""

from pathlib import Path

import pytest

from tests.helpers.page_server import BOX, client_of, left_files, make_service, write_clip

REQUESTS = 200
# What allocators keep without being asked.
SLACK_MB = 12.0


def resident_mb() -> float:
    """Memory of this process."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no VmRSS")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="/proc tells the memory")
def test_memory_is_flat_over_many_requests(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 6).read_bytes()
    service = make_service(tmp_path)
    with client_of(service) as client:
        sizes = []
        for number in range(REQUESTS):
            files = {"video": ("clip.mp4", clip)}
            accept = "application/x-ndjson" if number % 2 else "application/json"
            headers = {"accept": accept}
            answer = client.post("/track", files=files, data={"boxes": BOX}, headers=headers)
            assert answer.status_code == 200
            session = client.post("/sessions", content=clip).json()["id"]
            wanted = {"frame": 0, "boxes": {0: {"1": [10, 20, 18, 14]}}}
            client.post(f"/sessions/{session}/track", json=wanted)
            client.get(f"/sessions/{session}/frames/3")
            client.post(f"/sessions/{session}/end")
            sizes.append(resident_mb())
        assert left_files(tmp_path) == [] and service.sessions == {}
    early, late = max(sizes[REQUESTS // 4 : REQUESTS // 2]), max(sizes[-20:])
    assert late < early + SLACK_MB, sizes[:: REQUESTS // 20]
