"""A handler under the real Lambda runtime: `awslambdaric` against a Runtime API that we serve.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

_API: Final = "/2018-06-01/runtime"
#: How long a function may take to start and to answer before the test fails.
SECONDS: Final = 60.0


@attrs.frozen(kw_only=True)
class Invocation:
    """What became of one invocation.

    Attributes:
        answer: what the handler gave; None when it raised.
        error: `errorMessage`, `errorType`, `stackTrace` of what it raised; None when it answered.
        seconds: how long it took, the start of the process included when it was the first.
    """

    answer: Any = None
    error: Mapping[str, Any] | None = None
    seconds: float


class Function:
    """One function: a process of the Lambda runtime, and what it was asked and said.

    Attributes:
        process: the runtime.
    """

    def __init__(self, handler: str, environment: Mapping[str, str], folder: str) -> None:
        self._asked: queue.Queue[tuple[str, bytes, int] | None] = queue.Queue()
        self._answered: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._count = 0
        self._output = open(os.path.join(folder, "output"), "w+b")  # noqa: PTH118, PTH123, SIM115
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._routes())
        self._server.daemon_threads = True
        self._serving = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._serving.start()
        name = handler.rpartition(".")[2]
        kept = {k: v for k, v in os.environ.items() if k.startswith(("COVERAGE_", "COV_"))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", handler],
            stdout=self._output,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={
                **kept,
                "PATH": os.defpath,
                "HOME": folder,
                "_HANDLER": handler,
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}",
                "AWS_LAMBDA_FUNCTION_NAME": name,
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
                "AWS_REGION": "ap-southeast-1",
                **environment,
            },
        )

    def _routes(self) -> type[BaseHTTPRequestHandler]:
        function = self

        class Routes(BaseHTTPRequestHandler):
            """The Runtime API."""

            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                """Give the next invocation, when there is one."""
                asked = function._asked.get()
                if asked is None:
                    self.close_connection = True
                    return
                id, body, milliseconds = asked
                deadline = int(time.time() * 1000) + milliseconds
                self._send(
                    200,
                    body,
                    {
                        "Lambda-Runtime-Aws-Request-Id": id,
                        "Lambda-Runtime-Deadline-Ms": str(deadline),
                        "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:ap-southeast-1:"
                        "123456789012:function:siutindei",
                    },
                )

            def do_POST(self) -> None:
                """Take an answer or an error."""
                kind = self.path.removeprefix(_API).rpartition("/")[2]
                if self.path.endswith("/init/error"):
                    kind = "init"
                function._answered.put((kind, self._body()))
                self._send(202, b'{"status":"OK"}', {})

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Say nothing."""

        return Routes

    def invoke(self, event: Any, *, milliseconds: int = 5000) -> Invocation:
        """Invoke the function once, and wait for what becomes of it.

        Args:
            event: what it is given.
            milliseconds: how long Lambda would let it work.
        """
        self._count += 1
        began = time.monotonic()
        self._asked.put((f"request-{self._count}", json.dumps(event).encode(), milliseconds))
        kind, body = self._next()
        seconds = time.monotonic() - began
        given = json.loads(body)
        if kind == "response":
            return Invocation(answer=given, seconds=seconds)
        assert kind == "error", f"{kind}: {given}\n{self.output()}"
        return Invocation(error=given, seconds=seconds)

    def init_error(self) -> Mapping[str, Any]:
        """Give the error with which the function did not start."""
        kind, body = self._next()
        assert kind == "init", kind
        given: Mapping[str, Any] = json.loads(body)
        return given

    def _next(self) -> tuple[str, bytes]:
        until = time.monotonic() + SECONDS
        while True:
            try:
                return self._answered.get(timeout=0.2)
            except queue.Empty:
                died = self.process.poll() is not None
                assert not died, f"the runtime ended:\n{self.output()}"
                assert time.monotonic() < until, f"no answer:\n{self.output()}"

    def output(self) -> str:
        """Give everything that the function wrote, to standard output and error."""
        self._output.flush()
        with open(self._output.name, encoding="utf-8") as file:  # noqa: PTH123
            return file.read()

    def lines(self) -> list[dict[str, Any]]:
        """Give the JSON lines among what it wrote: logs and metrics."""
        return [json.loads(line) for line in self.output().splitlines() if line.startswith("{")]

    def logs(self) -> list[dict[str, Any]]:
        """Give what it logged."""
        return [line for line in self.lines() if "event" in line]

    def metrics(self) -> list[dict[str, Any]]:
        """Give the metrics that it wrote, each with its dimensions, without the declaration."""
        return [
            {name: value for name, value in line.items() if name != "_aws"}
            for line in self.lines()
            if "_aws" in line
        ]

    def close(self) -> None:
        """End the runtime, and the server."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self._asked.put(None)
        self._server.shutdown()
        self._server.server_close()
        self._serving.join(10)
        self._output.close()


@contextmanager
def running(handler: str, environment: Mapping[str, str] | None = None) -> Iterator[Function]:
    """Start a function and end it.

    Args:
        handler: `siutindei.entrypoints.cognito.pre_sign_up`, for example.
        environment: what it is configured with; nothing else of this process's environment is its.
    """
    with tempfile.TemporaryDirectory(prefix="siutindei-lambda-") as folder:
        function = Function(handler, environment or {}, folder)
        try:
            yield function
        finally:
            function.close()
