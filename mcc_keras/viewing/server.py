"""Files for one browser on this machine: served on 127.0.0.1, to requests that know a token, and nothing else.

The token is new in each call. Other users and web pages do not know it, so they get 403 for everything. A page that
points a name of its own at 127.0.0.1 (DNS rebinding) is refused by the Host header.
"""

import hmac
import http.server
import secrets
import socketserver

from mcc_keras.errors import EnvironmentFailure

ADDRESS = "127.0.0.1"
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class FileServer(http.server.ThreadingHTTPServer):
    """Serves a dict of files until `shutdown`.

    Args:
        files: Name → (media type, bytes). The name "" is what the address itself shows.
        port: Port, or 0 for a free one.

    Raises:
        EnvironmentFailure: The port is taken.

    Example:

    >>> with FileServer({"": ("text/plain", b"hello")}) as server:
    ...     server.url.replace(server.token, "TOKEN").replace(str(server.server_port), "PORT")
    'http://127.0.0.1:PORT/TOKEN/'
    """

    daemon_threads = True

    def __init__(self, files, *, port=0):
        self.files, self.token = dict(files), secrets.token_urlsafe(24)
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise EnvironmentFailure(f"{ADDRESS}:{port}: cannot be listened on ({reason}). Choose another.") from None

    def server_bind(self):
        """Bind without the look-up of this machine's name, which may ask the network."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    @property
    def url(self):
        """The address of the page, with the token."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    @property
    def hosts(self):
        """The values of the Host header that are answered."""
        return tuple(f"{name}:{self.server_port}" for name in (ADDRESS, "localhost"))

    def handle_error(self, request, client_address):
        """Print nothing where a browser has closed the connection."""


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = 60
    server_version, sys_version = "mcc-keras", ""

    def _answer(self):
        token, _, name = self.path.partition("?")[0].removeprefix("/").partition("/")
        hosts = self.headers.get_all("Host") or []
        known = hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode())
        if not (known and len(hosts) == 1 and hosts[0] in self.server.hosts):
            self._send(403, b"The address with its token is in the terminal.\n")
        elif self.command not in ("GET", "HEAD"):
            self._send(405, b"Only GET.\n")
        elif name not in self.server.files:
            self._send(404, b"No such file.\n")
        else:
            kind, body = self.server.files[name]
            self._send(200, body, kind)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = _answer

    def _send(self, status, body, kind="text/plain; charset=utf-8"):
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": kind, "Content-Length": len(body)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        """Print nothing: the terminal shows the address."""
