"""The REST call of the emulated Cloud TPU API: a machine uses it to delete itself with curl."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from qarib_tasks.emulators.access import has_token
from qarib_tasks.emulators.cloud_tpu.catalog import ApiError
from qarib_tasks.emulators.cloud_tpu.vm import LOOPBACK

_HTTP = {3: 400, 5: 404, 8: 429, 9: 400, 13: 500, 14: 503}


class RestServer:
    """Serves DELETE /v2alpha1/{name of a queued resource}?force=true on a free port.

    Args:
        call: calls the API with a method and a request; may raise an `ApiError`.
        token: what each request must have, which a machine gets from its metadata server.
        host: address to listen on.
    """

    def __init__(self, call: Callable[[str, Any], Any], token: str, host: str = LOOPBACK) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_DELETE(self) -> None:
                from google.cloud.tpu_v2alpha1 import DeleteQueuedResourceRequest

                url = urlsplit(self.path)
                force = parse_qs(url.query).get("force") == ["true"]
                name = url.path.removeprefix("/v2alpha1/")
                code = 200 if has_token(self.headers.get("Authorization", ""), token) else 401
                if code == 200:
                    try:
                        call("DeleteQueuedResource", DeleteQueuedResourceRequest(name=name, force=force))
                    except ApiError as error:
                        code = _HTTP.get(error.code, 500)
                with contextlib.suppress(BrokenPipeError):  # The machine has deleted itself.
                    self.send_response(code)
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"{}")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer((host, 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://{host}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
