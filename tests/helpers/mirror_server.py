"""A web server on this machine that lists folders, serves ranges and fails on demand."""

import contextlib
import re
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(SimpleHTTPRequestHandler):
    """Static files with ranges; `server.faults` maps a file name to what goes wrong with it."""

    def do_GET(self):
        name = self.path.rsplit("/", 1)[-1]
        fault = self.server.faults.get(name)
        self.server.requests.append((self.path, self.headers.get("Range")))
        if self.path in self.server.moved:
            self.answer(302, b"", {"Location": self.server.moved[self.path]})
        elif isinstance(fault, bytes):
            self.answer(200, fault, {"Content-Type": "text/html"})
        elif Path(self.translate_path(self.path)).is_file():
            self.send_part(Path(self.translate_path(self.path)).read_bytes(), fault)
        else:
            super().do_GET()

    def send_part(self, content, cut_after):
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        headers = {"Content-Length": str(len(content) - start)}
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        end = len(content) if cut_after is None else max(start, cut_after)
        self.answer(206 if wanted else 200, content[start:end], headers)

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def mirror_server(root: Path) -> Iterator[ThreadingHTTPServer]:
    """Serve `root`; the server has `url`, `root`, `faults`, `moved` and the list `requests`."""

    def handler(*args):
        return Handler(*args, directory=str(root))

    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        httpd.faults, httpd.moved, httpd.requests, httpd.root = {}, {}, [], root
        httpd.url = f"http://127.0.0.1:{httpd.server_address[1]}"
        threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
        yield httpd
        httpd.shutdown()
