"""A zoo on this computer: tiny files behind an HTTP server, in good order or misbehaving."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from nucleiseg.models.zoo import ZOO, ZooEntry


@dataclass
class Server:
    """What is served, and what was asked for.

    Attributes:
        address: of the server, without a path.
        files: path -> content.
        cut: bytes to send of each file before the connection breaks; None sends all.
        requests: the paths that were asked for, in order.
        ready: answers wait until it is set.
    """

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    cut: int | None = None
    requests: list[str] = field(default_factory=list)
    ready: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.ready.set()

    def add(self, name: str, content: bytes) -> ZooEntry:
        """Serve a file under an entry of the zoo, and return the entry that points here."""
        entry = ZOO[name]
        path = f"/{entry.file_name}"
        self.files[path] = content
        return replace(entry, address=self.address + path, digest=f"md5:{hashlib.md5(content).hexdigest()[:6]}")


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server on a free port of this computer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.requests.append(self.path)
            served.ready.wait()
            if self.path not in served.files:
                self.send_error(404)
                return
            content = served.files[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: served.cut])

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = Server(f"http://127.0.0.1:{http.server_port}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        served.ready.set()
        http.shutdown()
        http.server_close()
        thread.join()
