import contextlib
import http.client
import socket
import threading
import urllib.error
import urllib.request

import pytest

from mcc_keras.errors import EnvironmentFailure
from mcc_keras.viewing.server import FileServer

FILES = {"": ("text/html", b"<p>page"), "scan.nii": ("application/octet-stream", bytes(range(256)) * 100)}


@pytest.fixture
def server():
    with FileServer(FILES) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


def ask(server, path, *, method="GET", headers=None, host=None):
    """Return status, headers and body of a request that may lie about its host."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)) as connection:
        connection.putrequest(method, path, skip_host=True)
        for name, value in {"Host": host or f"127.0.0.1:{server.server_port}", **(headers or {})}.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def test_the_files_are_served_as_they_are(server):
    for name, (kind, body) in FILES.items():
        with urllib.request.urlopen(server.url + name) as answer:
            assert answer.read() == body
            assert answer.headers["Content-Type"] == kind
            assert answer.headers["Content-Length"] == str(len(body))
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    "path",
    ["/", "/scan.nii", "/{token}x/", "/{short}/scan.nii", "/%C3%A9/scan.nii", "/?{token}", "/x/../{token}/scan.nii"],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_request_without_the_token_is_refused(server, path, method):
    path = path.format(token=server.token, short=server.token[:-1])
    status, headers, body = ask(server, path, method=method)
    assert status == 403
    assert server.token not in f"{headers}{body}"


def test_a_token_elsewhere_than_in_the_path_does_not_count(server):
    headers = {"Cookie": f"token={server.token}", "Authorization": server.token, "Referer": server.url}
    assert ask(server, "/scan.nii", headers=headers)[0] == 403


@pytest.mark.parametrize("name", ["absent", "../scan.nii", "%2e%2e/", "scan.nii/", ".", "etc/passwd", "/etc/passwd"])
def test_nothing_but_the_files_of_the_call_is_there(server, name):
    status, _, body = ask(server, f"/{server.token}/{name}")
    assert (status, body) == (404, b"No such file.\n")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}"])
def test_another_host_name_is_refused(server, host):
    assert ask(server, f"/{server.token}/", host=host.format(port=server.server_port))[0] == 403


def test_two_host_names_are_refused(server):
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=30) as connection:
        host = f"Host: 127.0.0.1:{server.server_port}\r\n"
        connection.sendall(f"GET /{server.token}/ HTTP/1.1\r\n{host}{host}Connection: close\r\n\r\n".encode())
        assert connection.recv(4096).split()[1] == b"403"


def test_localhost_is_this_machine(server):
    assert ask(server, f"/{server.token}/", host=f"localhost:{server.server_port}")[2] == b"<p>page"


def test_only_get_and_head_are_answered(server):
    assert ask(server, f"/{server.token}/", method="POST")[0] == 405
    assert ask(server, f"/{server.token}/", method="BREW")[0] == 501
    status, headers, body = ask(server, f"/{server.token}/scan.nii", method="HEAD")
    assert (status, headers["Content-Length"], body) == (200, "25600", b"")


def test_only_this_machine_is_listened_to(server):
    assert server.socket.getsockname()[0] == "127.0.0.1"


def test_every_call_has_a_token_of_its_own():
    with FileServer(FILES) as one, FileServer(FILES) as other:
        assert one.token != other.token and len(one.token) >= 32


def test_a_port_that_is_taken_is_named(server):
    with pytest.raises(EnvironmentFailure, match=f"127.0.0.1:{server.server_port}: cannot be listened on"):
        FileServer(FILES, port=server.server_port)
    with pytest.raises(EnvironmentFailure, match="99999"):
        FileServer(FILES, port=99999)


def test_a_refused_request_says_where_the_address_is(server):
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/")
    with caught.value as answer:
        assert b"terminal" in answer.read()
