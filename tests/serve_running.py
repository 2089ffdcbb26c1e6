"""A server on a free port of this machine, for tests."""

import http.client
import json
import socket
import threading
import time
from typing import Any

from extras import require

uvicorn = require("uvicorn")


class Running:
    """Serves an application while it is entered."""

    def __init__(self, app: Any) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="error", ws="none"))
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],))

    def __enter__(self) -> "Running":
        self.thread.start()
        while not self.server.started and self.thread.is_alive():
            time.sleep(0.01)
        return self

    def __exit__(self, *error: object) -> None:
        self.server.should_exit = True
        self.thread.join()
        self.socket.close()

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple:
        """Status, headers and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()
        finally:
            connection.close()

    def post(self, body: Any, path: str = "/predict", **headers: str) -> tuple[int, Any]:
        """Status and JSON of the answer to an image."""
        status, _, answer = self.ask("POST", path, body, **headers)
        return status, json.loads(answer)
