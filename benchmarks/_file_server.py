"""Serves the files of a directory, cheaply.

`python -m benchmarks._file_server DIRECTORY` prints its port and serves until it is ended.
"""

from __future__ import annotations

import socketserver
import sys
from pathlib import Path


class Handler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self) -> None:
        while line := self.rfile.readline():
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
            name = line.split()[1].decode().rpartition("/")[2]
            with (Path(sys.argv[1]) / name).open("rb") as file:
                size = file.seek(0, 2)
                file.seek(0)
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"
                self.request.sendall(head.encode())
                self.request.sendfile(file)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64


def main() -> None:
    with Server(("127.0.0.1", 0), Handler) as server:
        print(server.server_address[1], flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
