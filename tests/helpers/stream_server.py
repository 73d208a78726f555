"""A web server on this machine's own address that sends, stalls and vanishes as a test says."""

import contextlib
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


class StreamServer:
    """Serves one item of `scripts` for each connection, and nothing after the last one.

    Args:
        scripts: for each connection the bytes that are sent, and what follows: 'end' closes the
            connection in order, 'stall' keeps it open without a word until the server ends;
            'half' waits for `go_on` in the middle, and ends in order.
        sized: whether the length is told, as for a file.
    """

    def __init__(self, scripts: Sequence[tuple[bytes, str]], sized: bool = False) -> None:
        waiting = list(scripts)
        over = self._over = threading.Event()
        go_on = self.go_on = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.close_connection = True
                if not waiting:
                    return
                data, then = waiting[0] if sized else waiting.pop(0)
                size = ("Content-Length", str(len(data)))
                self.send_response(200)
                self.send_header(*(size if sized else ("Transfer-Encoding", "chunked")))
                self.end_headers()
                middle = len(data) // 2 if then == "half" else len(data)
                # The reader may leave at any time.
                with contextlib.suppress(OSError):
                    self._send(data[:middle])
                    if then == "half":
                        go_on.wait()
                        self._send(data[middle:])
                    if then == "stall":
                        over.wait()
                    elif not sized:
                        self.wfile.write(b"0\r\n\r\n")

            def _send(self, data: bytes) -> None:
                self.wfile.write(data if sized else b"%x\r\n%s\r\n" % (len(data), data))

            def log_message(self, *args: object) -> None:
                """Nothing: the tests read what the reader says."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.address = f"http://127.0.0.1:{self._server.server_port}/cam"

    def __enter__(self) -> "StreamServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
