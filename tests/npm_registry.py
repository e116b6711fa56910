"""A registry of npm for one scope: it has packages, has none, breaks down or hangs up."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import io
import json
import tarfile
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

SCOPE = "@the-next-ai"


@contextlib.contextmanager
def registry(packages: Mapping[str, Mapping[str, Any]], otherwise: int = 404) -> Iterator[str]:
    """Serve these packages, by name with what their ``package.json`` says.

    Args:
        packages: one version of each.
        otherwise: the status for every other one; 0 hangs up.

    Yields:
        the address.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = unquote(self.path).strip("/")
            status, content = otherwise, b"{}"
            if name.endswith(".tgz") and name[:-4] in packages:
                status, content = 200, _archive(name[:-4], packages[name[:-4]])
            elif name in packages:
                address = f"http://{self.headers['host']}/{name}.tgz"
                status, content = 200, _record(name, packages[name], address)
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def _archive(name: str, manifest: Mapping[str, Any]) -> bytes:
    content = json.dumps({"name": name, **manifest}).encode()
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        entry = tarfile.TarInfo("package/package.json")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def _record(name: str, manifest: Mapping[str, Any], address: str) -> bytes:
    digest = base64.b64encode(hashlib.sha512(_archive(name, manifest)).digest()).decode()
    dist = {"tarball": address, "integrity": f"sha512-{digest}"}
    version = manifest["version"]
    versions = {version: {"name": name, **manifest, "dist": dist}}
    record = {"name": name, "dist-tags": {"latest": version}, "versions": versions}
    return json.dumps(record).encode()
