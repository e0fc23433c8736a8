import os
import signal
import sys
import time
from pathlib import Path

import pytest
from stub_server import stub_server

from benchmarks.serving import servers
from benchmarks.serving.servers import ServerProcess, free_port
from qkv.errors import QKVError

# Answers GET with 200, from a process that has a child of its own.
SERVER = """
import http.server, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time\\nwhile True: time.sleep(0.01)"])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ready" else 404)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def server(code=SERVER, ready_path="/ready"):
    port = free_port()
    command = [sys.executable, "-c", code, str(port)]
    return ServerProcess("a server", command, port, ready_path=ready_path)


def alive(pid):
    try:
        return state(pid) not in "ZX"
    except OSError:
        return False


def wait_until(true, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_server_and_its_children_start_pause_and_end():
    with server() as process:
        process.require_alive()
        wait_until(lambda: len(process._pids()) == 2)
        pids = process._pids()
        assert all(map(alive, pids))
        assert process.memory_bytes() > 2e6
        process.pause()
        wait_until(lambda: all(state(pid) == "T" for pid in pids))
        process.resume()
        wait_until(lambda: not any(state(pid) == "T" for pid in pids))
    wait_until(lambda: not any(map(alive, pids)))


def state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_paused_server_ends_too():
    with server() as process:
        pids = process._pids()
        process.pause()
    wait_until(lambda: not any(map(alive, pids)))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_nothing_is_left_behind_by_an_interrupt(error):
    with pytest.raises(error), server() as process:
        pids = process._pids()
        raise error
    wait_until(lambda: not any(map(alive, pids)))


def test_one_interrupted_while_it_starts_is_ended(monkeypatch):
    started = []

    def interrupted(_port, _path):
        started.extend(process._pids())
        raise KeyboardInterrupt

    monkeypatch.setattr(servers, "_is_ready", interrupted)
    process = server()
    with pytest.raises(KeyboardInterrupt):
        process.__enter__()
    assert started
    wait_until(lambda: not any(map(alive, started)))


def test_one_that_ignores_the_signal_is_killed(monkeypatch):
    monkeypatch.setattr(servers, "STOP_SECONDS", 0.3)
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVER
    with server(deaf) as process:
        pids = process._pids()
    wait_until(lambda: not any(map(alive, pids)))


def test_a_server_that_ends_says_why(monkeypatch):
    with pytest.raises(QKVError, match=r"a server ended with 3: no such model"):
        server("import sys; print('no such model'); sys.exit(3)").__enter__()
    monkeypatch.setattr(servers, "START_SECONDS", 0.5)
    with pytest.raises(QKVError, match=r"was not ready after 0.5 s: it printed nothing"):
        server(ready_path="/never").__enter__()
    with server() as process:
        os.kill(process._process.pid, signal.SIGKILL)
        process._process.wait()
        with pytest.raises(QKVError, match=r"ended with -9"):
            process.require_alive()


def posted(port, bodies):
    process = ServerProcess("a stub", [], port, ready_path="/")
    return process.post_each("/predict", "text/plain", bodies)


def test_posting_one_after_another():
    with stub_server() as stub:
        assert posted(stub.port, [b"a", b"b"]) == [b"a", b"b"]
    with (
        stub_server(lambda *_: (503, b"not now")) as stub,
        pytest.raises(QKVError, match="number 0 answered 503: not now"),
    ):
        posted(stub.port, [b"a"])
    with pytest.raises(QKVError, match="POST /predict failed"):
        posted(free_port(), [b"a"])
