import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

import pytest

from bench import account, load
from tests.unit.bench.made import NUMBERS

OUTPUT = """\
Running 10s test @ http://127.0.0.1:8000/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.62ms  310.11us   9.10ms   93.12%
bench sent=1000 in_time=940 answered=960 empty=20 refused=10 other=4 elapsed=4.0005 socket_errors=2 \
p50_us=1030 p99_us=30053 p90_us=1239 p999_us=31000 max_us=37842
"""


def parsed(output: str = OUTPUT) -> load.Load:
    return load.parse(output, connections=64, seconds=4, numbers=NUMBERS, cpu_seconds=1.0)


def test_result_line_is_read_among_what_wrk_prints_itself() -> None:
    seen = parsed()

    assert (seen.sent, seen.answered, seen.empty, seen.refused, seen.other) == (1000, 960, 20, 10, 4)
    assert (seen.p50, seen.p90, seen.p99, seen.p999, seen.slowest) == (1.03, 1.239, 30.053, 31.0, 37.842)
    assert seen.socket_errors == 2


def test_rate_counts_answers_until_the_last_callback_was_sent() -> None:
    assert parsed().per_second == pytest.approx(940 / 4.0005)


def test_every_200_is_an_acceptance_and_the_rest_is_without_an_answer() -> None:
    assert parsed().accepted == 984
    assert parsed().unanswered == 6


def test_generators_share_is_of_one_core() -> None:
    assert parsed().generator_share == pytest.approx(0.25, rel=0.01)


def test_a_load_that_hung_to_the_end_lasted_what_was_asked_for() -> None:
    assert parsed(OUTPUT.replace("elapsed=4.0005", "elapsed=0")).seconds == 4


def test_missing_result_line_shows_what_wrk_said() -> None:
    with pytest.raises(load.LoadError, match="unable to connect"):
        parsed("unable to connect to 127.0.0.1:1 Connection refused\n")


class Recorder(ThreadingHTTPServer):
    """Answers some callbacks in each of the ways there are, and remembers them all."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.seen: list[tuple[str, bytes]] = []
        self.lock = threading.Lock()


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.seen.append((self.path, body))
            turn = len(self.server.seen) % 10
        status, answer = {1: (200, "success"), 2: (503, "no"), 3: (200, "what?")}.get(
            turn, (200, f"<xml>{account.REPLY}</xml>")
        )
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer.encode())))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    server = Recorder()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.integration
def test_generator_knows_the_fate_of_every_callback_it_sent(recorder: Recorder) -> None:
    load.ensure_wrk()

    seen = load.run(recorder.server_port, connections=4, seconds=1)

    assert seen.sent == len(recorder.seen) > 20
    assert seen.unanswered == 0
    assert seen.answered + seen.empty + seen.refused + seen.other == seen.sent
    assert min(seen.answered, seen.empty, seen.refused, seen.other) > 0
    assert seen.empty == pytest.approx(seen.sent / 10, abs=1)


@pytest.mark.integration
def test_callbacks_are_signed_numbered_and_from_many_followers(recorder: Recorder) -> None:
    load.ensure_wrk()

    seen = load.run(recorder.server_port, connections=4, seconds=1)

    messages = [{field.tag: field.text for field in ET.fromstring(body)} for _, body in recorder.seen]
    assert sorted(int(m["MsgId"]) for m in messages) == [
        seen.numbers.first + number for number in range(1, seen.sent + 1)
    ]
    assert {m["ToUserName"] for m in messages} == {account.ORIGINAL_ID}
    assert {m["MsgType"] for m in messages} == {"text"}
    assert {m["Content"] for m in messages} <= set(account.TEXTS)
    assert len({m["FromUserName"] for m in messages}) == min(seen.sent, account.FOLLOWERS)
    for (path, _), message in zip(recorder.seen, messages, strict=True):
        query = {name: values[0] for name, values in parse_qs(urlsplit(path).query).items()}
        assert urlsplit(path).path == f"/wechat/{account.NAME}"
        assert query["openid"] == message["FromUserName"]
        assert query["signature"] == account.signature(account.TOKEN, query["timestamp"], query["nonce"])
