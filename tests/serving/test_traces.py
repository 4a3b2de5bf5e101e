"""Traces reach a collector of OpenTelemetry."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from atelier.client import Client
from atelier.serving.launcher import Server
from tests.conftest import server_options
from tests.served import until
from tests.serving.test_launcher import MODELS


@pytest.fixture
def collector():
    """Its address, and what was sent to it, path and body."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1/traces", received
        server.shutdown()


def test_a_request_s_trace_names_the_service_and_the_model(collector):
    url, received = collector
    options = server_options(MODELS, models=("echo",), otel_url=url, otel_rate=1)
    with Server(options) as server, Client(server.grpc_url) as client:
        client.infer("echo", {"INT32": np.array([[7]], np.int32)}, outputs={"INT32": None})
        until(lambda: received, 30, "the trace")
    assert {path for path, _ in received} == {"/v1/traces"}
    sent = b"".join(body for _, body in received)
    assert b"atelier" in sent
    assert b"echo" in sent
