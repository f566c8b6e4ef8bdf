"""What is tried again and what is not, and the words of each status."""

import pytest

from mcc_keras.errors import DataError, EnvironmentFailure
from mcc_keras.serving.refusals import CODES, WAITS, Refusal, ask_patiently, explain


def asked(*refusals, timeout_seconds=60.0):
    """Return how often a server is asked that gives these refusals and then an answer, and how long was waited."""
    left, waited, times = list(refusals), [], []

    def ask(seconds):
        times.append(seconds)
        if left:
            raise left.pop(0)
        return "mask"

    try:
        ask_patiently(ask, timeout_seconds=timeout_seconds, sleep=waited.append)
    except Refusal:
        return -len(times), waited
    return len(times), waited


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_a_server_that_is_not_there_yet_or_full_is_asked_again_after_longer_and_longer_waits(code):
    number, waited = asked(*[Refusal(code, "")] * 3)
    assert number == 4
    for found, most in zip(waited, WAITS, strict=False):
        assert most / 2 <= found <= most


def test_in_the_end_the_refusal_stands():
    assert asked(*[Refusal("UNAVAILABLE", "")] * 9)[0] == -(len(WAITS) + 1)


def test_the_time_that_a_server_names_is_waited():
    assert asked(Refusal("UNAVAILABLE", "", retry_after=7)) == (2, [7])


def test_a_wait_beyond_the_deadline_is_not_begun():
    assert asked(Refusal("UNAVAILABLE", "", retry_after=7), timeout_seconds=5) == (-1, [])


@pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "NOT_FOUND", "DEADLINE_EXCEEDED", "UNAUTHENTICATED", "TOO_LARGE"])
def test_all_else_is_asked_once(code):
    assert asked(Refusal(code, "")) == (-1, [])


def test_a_message_that_is_too_large_is_never_sent_again():
    refusal = Refusal("RESOURCE_EXHAUSTED", "Received message larger than max (5 vs. 4)")
    assert refusal.code == "TOO_LARGE" and asked(refusal) == (-1, [])


def explained(code, details="why"):
    asked = {"model_name": "organ", "timeout_seconds": 5, "scan": "scan.nii"}
    return explain(Refusal(code, details), "host:1", **asked)


def test_each_status_has_a_line_of_its_own():
    lines = {code: str(explained(code)) for code in {*CODES.values(), "INTERNAL"}}
    assert len(set(lines.values())) == len(lines)
    assert all("\n" not in line and len(line) < 400 for line in lines.values())
    assert all(line.startswith("host:1: ") for code, line in lines.items() if code != "INVALID_ARGUMENT")


def test_what_a_graph_asserts_is_told_without_the_graph():
    words = 'Graph execution error: Detected at node x assertion failed: [["expected a volume"]] [[{{node x}}]] [Op:y]'
    error = explained("INVALID_ARGUMENT", words)
    assert isinstance(error, DataError)
    assert str(error) == "scan.nii: the model server at host:1 refuses the scan: expected a volume."


def test_a_long_story_of_a_server_is_cut_and_its_control_characters_are_spelled_out():
    error = explained("INTERNAL", "a\x1b[2J\n" + "x" * 10_000)
    assert isinstance(error, EnvironmentFailure) and len(str(error)) < 700 and "\x1b" not in str(error)
