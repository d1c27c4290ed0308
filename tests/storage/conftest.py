"""A real server of S3 on this machine, and a proxy before it that counts requests and may spoil them."""

import http.client
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

SIGNED = "AWS4-HMAC-SHA256 Credential=me/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
"""The server takes any signature."""

KEY, SECRET = "AKIATHISISNOTAKEYOFANY", "wJalrXUtnFEMI/K7MDENG/thisIsNotASecret"


class Proxy:
    """A server that passes requests on.

    Args:
        port: The port of the server behind it.
    """

    def __init__(self, port):
        self.requests = []
        """Method, path, and the answer's status."""
        self.spoil = None
        """Called with method, path, headers and the number of earlier requests; returns an answer, or None to pass on.

        It may change the headers. An answer is a status, or a text; 0 closes the connection after passing the request
        on, so that only the answer is lost.
        """
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
                told = proxy.spoil and proxy.spoil(self.command, self.path, headers, len(proxy.requests))
                data, status = (told.encode(), 200) if isinstance(told, str) else (b"", told)
                place, kept = len(proxy.requests), []
                proxy.requests.append((self.command, self.path, status))
                if not status:
                    behind = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                    behind.request(self.command, self.path, body, headers)
                    reply = behind.getresponse()
                    data, status = reply.read(), reply.status
                    kept = [pair for pair in reply.getheaders() if pair[0].lower() not in HOP]
                    if self.command == "HEAD":
                        kept.append(("Content-Length", reply.getheader("Content-Length") or "0"))
                    behind.close()
                    proxy.requests[place] = (self.command, self.path, status)
                    if told == 0:
                        self.close_connection = True
                        return
                self.send_response(status)
                for name, value in kept:
                    self.send_header(name, value)
                if self.command != "HEAD":
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def __getattr__(self, name):
                if name.startswith("do_"):
                    return self.answer
                raise AttributeError(name)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def paths(self, method, status=200):
        """Return the paths of requests, without their queries."""
        return [path.partition("?")[0] for verb, path, answer in self.requests if (verb, answer) == (method, status)]


HOP = {"connection", "content-length", "transfer-encoding", "keep-alive", "server", "date"}


class S3:
    """A server with a bucket of its own for a test.

    Args:
        proxy: The proxy before it.
        bucket: The bucket.
    """

    def __init__(self, proxy, bucket):
        self.proxy = proxy
        self.bucket = bucket
        self.url = f"s3://{bucket}"
        self._ask("PUT")

    def _ask(self, method, key="", data=None):
        address = f"{self.proxy.endpoint}/{self.bucket}/{urllib.request.quote(key)}"
        headers = {"Authorization": SIGNED, "Content-Type": "audio/x-wav"}
        with urllib.request.urlopen(urllib.request.Request(address, data, headers, method=method)) as answer:
            return answer.read()

    def put(self, key, data):
        self._ask("PUT", key, data)

    def get(self, key):
        return self._ask("GET", key)

    def names(self):
        found, after = [], ""
        while True:
            address = f"{self.proxy.endpoint}/{self.bucket}?list-type=2&start-after={urllib.request.quote(after)}"
            request = urllib.request.Request(address, headers={"Authorization": SIGNED})
            with urllib.request.urlopen(request) as answer:
                text = answer.read().decode()
            keys = re.findall("<Key>(.*?)</Key>", text)
            found += keys
            if not keys:
                return found
            after = keys[-1]


@pytest.fixture(scope="session")
def _proxy():
    pytest.importorskip("obstore")
    program = shutil.which("moto_server", path=f"{sys.prefix}/bin")
    if program is None:
        pytest.skip("moto_server is not here")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    server = subprocess.Popen([program, "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield Proxy(port)
    finally:
        server.kill()
        server.wait()


@pytest.fixture
def s3(_proxy, request, monkeypatch):
    """A bucket; the environment has the credentials for it."""
    from fxst.storage import objects

    for name, value in (
        ("AWS_ENDPOINT_URL", _proxy.endpoint),
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_REGION", "us-east-1"),
        ("NO_PROXY", "127.0.0.1"),
    ):
        monkeypatch.setenv(name, value)
    _proxy.spoil = None
    bucket = S3(_proxy, f"bucket-{abs(hash(request.node.nodeid)) % 10**12}")
    _proxy.requests.clear()
    objects._client.cache_clear()
    objects._proven.clear()
    yield bucket
    _proxy.spoil = None
