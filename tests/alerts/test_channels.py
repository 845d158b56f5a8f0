"""Webhooks over real sockets: what arrives, what an answer means, and what a bad receiver cannot do."""

from __future__ import annotations

import base64
import itertools
import json
import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from registry.alerts import channels
from registry.alerts.channels import Message, Outcome, Rules
from registry.alerts.sending import Result, hidden_in, meaning, tidy, wait_asked
from registry.alerts.webhooks import Webhooks
from registry.core.errors import Invalid
from tests.alerts.receiver import (
    Behave,
    Caller,
    Receiver,
    answers,
    certificate,
    receiver,
    says_forever,
)

# The verifying library looks at the machine's clock, so the tests sign with it too.
NOW = datetime.now(UTC)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
LOCAL = Rules(allow_private=True, timeout=5)
HASTY = Rules(allow_private=True, timeout=0.4)
"""For tries that shall run into the time-out."""
BRIEF = Rules(allow_private=True, timeout=3)
"""For tries that shall hear the status, and then run into it."""
SECRET = channels.new_secret()
TOKEN = "T0kenOfTheOwner"
MESSAGE = Message(
    id="msg_2abc",
    at=datetime(2026, 11, 23, 2, 41, tzinfo=UTC),
    type="beta.retired",
    title="`x` retired: 3 services fail.",
    severity="critical",
    text="x is retired",
    markdown="**x** is retired",
    html="<b>x</b> is retired",
    data={"title": "é \ud800 \u2028", "affected": []},
)


def url_of(listening: Receiver) -> str:
    return f"http://127.0.0.1:{listening.port}/hooks/{TOKEN}?key=Q{TOKEN}"


def send(listening: Receiver, rules: Rules = LOCAL, secrets: Sequence[str] = (SECRET,)) -> Outcome:
    return channels.send("webhook", url_of(listening), secrets, MESSAGE, rules, NOW)


def test_a_receiver_can_verify_what_arrives() -> None:
    """The body is the contract's, the headers are those of Standard Webhooks, the signature holds."""
    with receiver(answers(204)) as listening:
        outcome = send(listening)
    caller = listening.callers[0]
    assert (outcome.result, outcome.status, outcome.error) == ("sent", 204, None)
    body = Webhook(SECRET).verify(caller.body, caller.headers)
    assert body == {
        "type": "beta.retired",
        "timestamp": "2026-11-23T02:41:00Z",
        "data": MESSAGE.data,
    }
    assert caller.path == f"/hooks/{TOKEN}?key=Q{TOKEN}"
    assert caller.headers["webhook-id"] == "msg_2abc"
    assert caller.headers["content-type"] == "application/json"
    assert caller.headers["host"] == f"127.0.0.1:{listening.port}"


def test_while_a_secret_rotates_both_verify_and_a_third_does_not() -> None:
    """Every living secret signs, in one header."""
    newer, other = channels.new_secret(), channels.new_secret()
    with receiver(answers(200)) as listening:
        send(listening, secrets=(SECRET, newer))
    caller = listening.callers[0]
    for secret in (SECRET, newer):
        Webhook(secret).verify(caller.body, caller.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(caller.body, caller.headers)


def test_the_moment_is_signed_in_utc_whatever_zone_it_came_in() -> None:
    """The signing library ignores zones; a shifted stamp would be refused as too old."""
    with receiver(answers(200)) as listening:
        local = NOW.astimezone(ZoneInfo("Asia/Tokyo"))
        channels.send("webhook", url_of(listening), [SECRET], MESSAGE, LOCAL, local)
    Webhook(SECRET).verify(listening.callers[0].body, listening.callers[0].headers)


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (200, "sent"), (202, "sent"), (299, "sent"),
        (301, "transient"), (307, "transient"), (400, "transient"), (401, "transient"),
        (403, "transient"), (404, "transient"), (405, "permanent"), (408, "transient"),
        (410, "gone"), (413, "permanent"), (422, "transient"), (425, "transient"),
        (429, "transient"), (500, "transient"), (503, "transient"), (599, "transient"),
    ],
)  # fmt: skip
def test_a_status_means_what_the_table_says(status: int, result: Result) -> None:
    """Waiting can mend most failures; what it cannot mend stops at once."""
    with receiver(answers(status, b"because")) as listening:
        outcome = send(listening)
    assert (outcome.result, outcome.status, outcome.answer) == (result, status, "because")
    assert (outcome.error is None) == (result == "sent")
    assert meaning(status) == result


def test_a_redirect_is_not_followed() -> None:
    """The second receiver hears nothing."""
    with (
        receiver(answers(200)) as inner,
        receiver(answers(302, location=url_of(inner))) as outer,
    ):
        outcome = send(outer)
    assert (outcome.status, inner.callers) == (302, [])
    assert "redirects are not followed" in (outcome.error or "")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("17", 17.0), (" 17 ", 17.0), ("0", 0.0), ("9" * 400, 86_400.0), ("90000", 86_400.0),
        (format_datetime(NOON + timedelta(minutes=2), usegmt=True), 120.0),
        (format_datetime(NOON - timedelta(days=2), usegmt=True), 0.0),
        (format_datetime(NOON + timedelta(days=20), usegmt=True), 86_400.0),
        ("-5", None), ("1.5", None), ("soon", None), ("", None), (None, None),
        ("Mon, 99 Foo 9999999999 99:99:99 GMT", None), ("٣", None),
    ],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_date_up_to_a_day(
    value: str | None, seconds: float | None
) -> None:
    """Rubbish is as if nothing had been said."""
    assert wait_asked(value, NOON) == seconds


@given(st.text())
def test_retry_after_never_raises(value: str) -> None:
    """It comes from a stranger."""
    waited = wait_asked(value, NOW)
    assert waited is None or 0 <= waited <= 86_400


def test_retry_after_reaches_the_outcome_of_a_failure_only() -> None:
    """A success has nothing to wait for."""
    with receiver(answers(429, retry_after="30")) as listening:
        assert send(listening).retry_after == 30.0
    with receiver(answers(200, retry_after="30")) as listening:
        assert send(listening).retry_after is None


ENDLESS = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "behave",
    [
        says_forever(ENDLESS, b"1000\r\n" + b"a" * 4096 + b"\r\n", 0),
        says_forever(ENDLESS, b"1\r\na\r\n", 0.02),
        says_forever(b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 4096, 0),
        lambda caller: caller.say(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\nshort"),
        lambda caller: caller.say(ENDLESS + b"zz\r\nno chunk"),
    ],
    ids=["endless", "trickling", "no length", "too short", "no chunk"],
)
def test_a_body_that_does_not_end_well_takes_nothing_back(behave: Behave) -> None:
    """The status has decided; the rest is read within bounds."""
    with receiver(behave) as listening:
        outcome = send(listening, BRIEF)
    assert (outcome.result, outcome.status) == ("sent", 200)
    assert len(outcome.answer) <= 500


@pytest.mark.parametrize("pause", [0.0, 0.02], ids=["endless", "trickling"])
def test_the_sender_hangs_up_on_a_body_without_end(pause: float) -> None:
    """It does not stay on the line to hear it all."""
    with receiver(says_forever(ENDLESS, b"1\r\na\r\n", pause)) as listening:
        send(listening, HASTY)
        assert listening.callers[0].hung_up.wait(60)


def _closes(caller: Caller) -> None:
    caller.line.close()


def _waits(caller: Caller) -> None:
    caller.line.recv(1)


@pytest.mark.parametrize(
    "behave",
    [
        _closes,
        _waits,
        says_forever(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n", 0.02),
        says_forever(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0),
        says_forever(b"HTTP/1.1 200 OK\r\nx: ", b"a" * 4096, 0),
        lambda caller: caller.say(b"220 mail.example ESMTP\r\n\r\n"),
        lambda caller: caller.say(b"\x00\xff" * 500),
        lambda caller: caller.say(b"HTTP/1.1 2000 OK\r\n\r\n"),
        lambda caller: caller.say(b"HTTP/1.1 101 Switching\r\n\r\n"),
    ],
    ids=["closes", "waits", "trickles headers", "100 for ever", "one header for ever", "mail server",
         "noise", "odd status", "upgrade"],
)  # fmt: skip
def test_no_answer_is_a_failure_that_may_pass(behave: Behave) -> None:
    """Each ends within the time-out, with a sentence for the delivery log."""
    with receiver(behave) as listening:
        outcome = send(listening, HASTY)
    assert outcome.result == "transient"
    assert outcome.error


def test_nobody_listening_is_a_failure_that_may_pass(dead_port: int) -> None:
    """A receiver that restarts is not lost."""
    url = f"http://127.0.0.1:{dead_port}/x"
    outcome = channels.send("webhook", url, [SECRET], MESSAGE, LOCAL, NOW)
    assert (outcome.result, outcome.status) == ("transient", None)
    assert outcome.error == f"No connection to 127.0.0.1, port {dead_port}."


def test_tls_verifies_the_name_while_the_connection_goes_to_the_address(tmp_path: Path) -> None:
    """Host and certificate are of the name; no resolver of the machine knows it."""
    server, trust = certificate(tmp_path, "hooks.example.com")
    sender = Webhooks(resolve=lambda host, port: ["127.0.0.1"], trust=trust)
    with receiver(answers(200), tls=server) as listening:
        url = f"https://hooks.example.com:{listening.port}/x"
        outcome = sender.send(url, [SECRET], MESSAGE, LOCAL, NOW)
    assert outcome.result == "sent"
    assert listening.callers[0].headers["host"] == f"hooks.example.com:{listening.port}"


@pytest.mark.parametrize("known", [True, False], ids=["another name", "an unknown issuer"])
def test_a_certificate_that_does_not_verify_is_said_so(tmp_path: Path, known: bool) -> None:
    """It may be renewed tomorrow, so it is tried again; nothing was sent."""
    server, trust = certificate(tmp_path, "other.example.com")
    sender = Webhooks(resolve=lambda host, port: ["127.0.0.1"], trust=trust if known else None)
    with receiver(answers(200), tls=server) as listening:
        url = f"https://hooks.example.com:{listening.port}/{TOKEN}"
        outcome = sender.send(url, [SECRET], MESSAGE, LOCAL, NOW)
    assert outcome.result == "transient"
    assert (outcome.error or "").startswith(
        "The certificate of hooks.example.com does not verify: "
    )
    assert (listening.callers, TOKEN in (outcome.error or "")) == ([], False)


def test_a_receiver_that_speaks_no_tls_is_a_failure_that_may_pass() -> None:
    """Plain HTTP behind an https URL."""
    sender = Webhooks(resolve=lambda host, port: ["127.0.0.1"])
    with receiver(answers(200)) as listening:
        url = f"https://hooks.example.com:{listening.port}/x"
        outcome = sender.send(url, [SECRET], MESSAGE, HASTY, NOW)
    assert (outcome.result, listening.callers) == ("transient", [])


def test_the_address_that_was_checked_is_the_one_connected_to() -> None:
    """A name server that changes its mind a moment later changes nothing: it is asked once a try."""
    told = iter([["127.0.0.2"], ["127.0.0.1"]])
    with (
        receiver(answers(200), address="127.0.0.2") as checked,
        receiver(answers(200), port=checked.port) as rebound,
    ):
        sender = Webhooks(resolve=lambda host, port: next(told))
        url = f"http://rebind.example.com:{checked.port}/x"
        assert sender.send(url, [SECRET], MESSAGE, LOCAL, NOW).result == "sent"
    assert (len(checked.callers), rebound.callers, next(told)) == (1, [], ["127.0.0.1"])


def test_a_name_that_turned_private_after_it_was_saved_is_refused() -> None:
    """The check is repeated at each try."""
    told = iter([["93.184.216.34"], ["127.0.0.1"]])
    sender = Webhooks(resolve=lambda host, port: next(told))
    with receiver(answers(200)) as listening:
        url = f"https://rebind.example.com:{listening.port}/x"
        sender.check(url, Rules())
        outcome = sender.send(url, [SECRET], MESSAGE, Rules(), NOW)
    assert (outcome.result, listening.callers) == ("permanent", [])
    assert "rebind.example.com leads to 127.0.0.1" in (outcome.error or "")


def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    """A name with a dead address still works."""
    with receiver(answers(200)) as listening:
        sender = Webhooks(resolve=lambda host, port: ["127.0.0.9", "127.0.0.1"])
        url = f"http://two.example.com:{listening.port}/x"
        assert sender.send(url, [SECRET], MESSAGE, LOCAL, NOW).result == "sent"


def test_a_resolver_that_hangs_ends_with_the_time_out() -> None:
    """The system's resolver knows no deadline, the try does."""
    sender = Webhooks(resolve=lambda host, port: [str(threading.Event().wait(30))])
    outcome = sender.send(
        "https://slow.example.com/x", [SECRET], MESSAGE, replace(HASTY, timeout=0.1), NOW
    )
    assert (outcome.result, outcome.error) == (
        "transient",
        "The name slow.example.com was not resolved in time.",
    )


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would resolve the name itself, past the guard."""
    with receiver(answers(200)) as listening, receiver(answers(502)) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert send(listening).result == "sent"
    assert proxy.callers == []


def _echoes(caller: Caller) -> None:
    said = " ".join([caller.path, SECRET, SECRET.removeprefix("whsec_"), *caller.headers.values()])
    answers(400, said.encode() + b"\x00\x1b[31m\r\n" + "é".encode()[:1])(caller)


def test_nothing_secret_is_in_an_outcome_or_a_log(caplog: pytest.LogCaptureFixture) -> None:
    """Not even when the receiver sends it all back and the libraries log all they can."""
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []
    for behave in (
        _echoes,
        _closes,
        answers(302, location=f"/{TOKEN}"),
        answers(200, TOKEN.encode()),
    ):
        with receiver(behave) as listening:
            seen.append(repr(send(listening, HASTY)))
    seen += [record.getMessage() for record in caplog.records if record.name.startswith("registry")]
    everything = "\n".join(seen)
    assert "Outcome" in everything
    for secret in (TOKEN, SECRET, SECRET.removeprefix("whsec_")):
        assert secret not in everything
    assert not any(ord(char) < 32 for char in "".join(seen))


@pytest.mark.parametrize(
    ("secrets", "data", "error"),
    [
        ([], {}, "There is no secret to sign with; make one."),
        (["whsec_"], {}, "A secret cannot be read; rotate it."),
        (["whsec_a"], {}, "A secret cannot be read; rotate it."),
        ([SECRET], {"x": float("nan")}, "The message cannot be written as JSON."),
        ([SECRET], {"x": object()}, "The message cannot be written as JSON."),
    ],
)
def test_what_cannot_be_sent_stops_at_once(secrets: list[str], data: object, error: str) -> None:
    """Nothing goes out, and waiting would not help."""
    with receiver(answers(200)) as listening:
        message = replace(MESSAGE, data=data)
        outcome = channels.send("webhook", url_of(listening), secrets, message, LOCAL, NOW)
    assert (outcome.result, outcome.error, listening.callers) == ("permanent", error, [])


@given(st.sampled_from(["webhook", "other"]), st.text(), st.lists(st.text(max_size=8), max_size=2))
def test_sending_never_raises(channel: str, url: str, secrets: list[str]) -> None:
    """Whatever was stored, one try is one outcome with a sentence."""
    outcome = channels.send(channel, url, secrets, MESSAGE, Rules(timeout=0.2), NOW)
    assert outcome.result in ("permanent", "transient")
    assert outcome.error


def test_an_id_that_would_forge_a_header_is_refused() -> None:
    """The line of a header ends where it should."""
    with receiver(answers(200)) as listening:
        message = replace(MESSAGE, id="a\r\nx-forged: 1")
        outcome = channels.send("webhook", url_of(listening), [SECRET], message, LOCAL, NOW)
    assert (outcome.result, listening.callers) == ("permanent", [])


def test_check_refuses_with_what_to_do() -> None:
    """The sentence becomes a problem document."""
    with pytest.raises(Invalid, match="begins with https://"):
        channels.check("webhook", "http://hooks.example.com/x", Rules())
    with pytest.raises(Invalid, match="is this machine itself"):
        channels.check("webhook", "https://127.0.0.1/x", Rules())
    with pytest.raises(Invalid, match="use webhook or apprise"):
        channels.check("pigeon", "https://hooks.example.com/x", Rules())
    channels.check("webhook", "https://127.0.0.1/x", Rules(allow_private=True))


@pytest.mark.parametrize(
    ("channel", "url", "shown"),
    [
        ("webhook", "https://hooks.example.com/T/B?x=1#f", "https://hooks.example.com/***"),
        ("webhook", "http://127.0.0.1:8080/T", "http://127.0.0.1:8080/***"),
        ("webhook", "https://user:pass@hooks.example.com/", "***"),
        ("webhook", "not a url", "***"),
        ("apprise", "slack://TAAA/BBBB/CCCC/#general", "slack://***"),
        ("apprise", "https://hooks.slack.com/services/T/B/C", "https://hooks.slack.com/***"),
        ("apprise", "tgram://123:abc/1?to=me", "tgram://***"),
        ("apprise", "secret", "***"),
        ("apprise", "sec-ret://x", "***"),
    ],
)
def test_a_masked_url_shows_where_it_leads_and_no_more(channel: str, url: str, shown: str) -> None:
    """The only form that may stand in answers and logs."""
    assert channels.mask(channel, url) == shown


@given(st.text(alphabet="abcXYZ019/?&=%", min_size=5, max_size=40), st.text(max_size=40))
def test_no_part_of_a_url_survives_in_what_somebody_says(path: str, around: str) -> None:
    """Whatever the receiver wraps it into."""
    url = f"https://hooks.example.com/{path}"
    said = tidy(f"{around}{path}{around}", hidden_in(url, []))
    assert path not in said
    assert len(said) <= 500


def test_secrets_are_fresh_and_of_the_size_that_the_standard_asks() -> None:
    """24 to 64 bytes of randomness behind the prefix."""
    made = {channels.new_secret() for _ in range(50)}
    assert len(made) == 50
    assert all(len(base64.b64decode(secret.removeprefix("whsec_"))) == 32 for secret in made)


def test_a_body_has_the_three_members_and_is_signed_as_sent() -> None:
    """Half a surrogate pair in somebody's text does not stop an alert."""
    with receiver(answers(200)) as listening:
        for number in itertools.islice(itertools.count(), 2):
            send(listening)
            body = json.loads(listening.callers[number].body)
            assert list(body) == ["type", "timestamp", "data"]
    assert listening.callers[0].body == listening.callers[1].body
