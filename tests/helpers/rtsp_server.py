"""A camera of RTSP on this machine's own address: H.264 over one connection (RFC 2326, 6184)."""

import contextlib
import itertools
import socketserver
import struct
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import av

_MOST = 1400  # bytes of a packet of RTP
_TICKS = 90_000  # a second
_SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=cam\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
    "a=fmtp:96 packetization-mode=1\r\na=control:video\r\n"
)


def h264_pictures(path: Path) -> list[bytes]:
    """The coded pictures of a raw stream of H.264."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def _payloads(picture: bytes) -> Iterator[bytes]:
    """What packets of RTP carry of a coded picture: whole units, or parts of large ones (FU-A)."""
    for unit in picture.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1")[1:]:
        if len(unit) <= _MOST:
            yield unit
            continue
        head, body = unit[0], unit[1:]
        for start in range(0, len(body), _MOST):
            first, last = start == 0, start + _MOST >= len(body)
            flags = first << 7 | last << 6 | head & 0x1F
            yield bytes([head & 0x60 | 28, flags]) + body[start : start + _MOST]


class RtspServer:
    """Serves one item of `scripts` for each client that plays.

    Args:
        scripts: the coded pictures that are sent at once, and what follows: 'stall' keeps the
            connection open without a word; 'vanish' takes the whole server away; 'half' waits
            for `go_on` in the middle, and vanishes at the end.
        rate: pictures per second, as their times say.
    """

    def __init__(self, scripts: Sequence[tuple[Sequence[bytes], str]], rate: int = 25) -> None:
        self._scripts, self._rate = list(scripts), rate
        self.go_on, self.sent, self._over = (threading.Event() for _ in range(3))
        camera = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                # The reader may leave at any time.
                with contextlib.suppress(OSError):
                    camera._talk(self)

        class Listener(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._listener = Listener(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.02,))
        self.address = f"rtsp://127.0.0.1:{self._listener.server_address[1]}/cam"

    def _talk(self, client: socketserver.StreamRequestHandler) -> None:
        """Answer requests until a client plays; then send what the script says."""
        while request := client.rfile.readline():
            if request.startswith(b"$"):  # a report of the receiver, which nobody needs
                rest = request[1:] + client.rfile.read(max(0, 4 - len(request)))
                client.rfile.read(max(0, struct.unpack(">H", rest[1:3])[0] + 3 - len(rest)))
                continue
            lines = iter(client.rfile.readline, b"\r\n")
            headers = dict(line.decode().strip().split(": ", 1) for line in lines)
            method = request.split()[0].decode()
            client.wfile.write(self._answer(method, headers["CSeq"]))
            if method == "PLAY":
                self._play(client.wfile)
                return

    def _answer(self, method: str, number: str) -> bytes:
        body = _SDP if method == "DESCRIBE" else ""
        said = {
            "OPTIONS": "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
            "DESCRIBE": f"Content-Base: {self.address}/\r\nContent-Type: application/sdp\r\n",
            "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
        }
        head = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\nSession: 1\r\n{said.get(method, '')}"
        return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()

    def _play(self, wire) -> None:
        pictures, then = self._scripts.pop(0)
        numbers = itertools.count()
        for index, picture in enumerate(pictures):
            if then == "half" and index == len(pictures) // 2:
                self.go_on.wait()
            payloads = list(_payloads(picture))
            for place, payload in enumerate(payloads, start=1):
                mark = (place == len(payloads)) << 7 | 96
                time = index * _TICKS // self._rate
                packet = struct.pack(">BBHII", 0x80, mark, next(numbers), time, 1) + payload
                wire.write(struct.pack(">cBH", b"$", 0, len(packet)) + packet)
        self.sent.set()
        if then == "stall":
            self._over.wait()
        else:
            self._vanish()

    def _vanish(self) -> None:
        self._listener.shutdown()
        self._listener.server_close()

    def __enter__(self) -> "RtspServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self.go_on.set()
        self._vanish()
        self._thread.join()
