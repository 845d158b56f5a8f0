"""Services over Apprise: the allow list is true, and what is not on it stays out."""

from __future__ import annotations

import dataclasses
import http.server
import inspect
import json
import logging
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.alerts import channels, services
from registry.alerts.channels import Message, Outcome, Rules
from registry.core.errors import Invalid
from tests.alerts.receiver import Caller, answers, certificate, receiver, says_forever

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
KEY = "a1b2c3d4" * 4
MAIL = "apikeyapikey:from@example.com/to@example.com"
UUID = "12345678-1234-1234-1234-123456789012"
MESSAGE = Message(
    id="msg_1",
    at=NOW,
    type="beta.retired",
    title="x retired",
    severity="critical",
    text="plain words",
    markdown="**marked** words",
    html="<b>tagged</b> words",
    data={},
)
SLACK = "slack://TAAAAAAAA/BAAAAAAAA/AAAAAAAAAAAAAAAAAAAAAAAA/#general"
FLOW = "prod-15.uksouth.logic.azure.com"

EXAMPLES = {
    SLACK: "hooks.slack.com",
    "https://hooks.slack.com/services/TAAAAAAAA/BAAAAAAAA/AAAAAAAAAAAAAAAAAAAAAAAA": "hooks.slack.com",
    "slack://xoxb-1234567890-1234567890-4ddedaf4a4a4a4a4a4a4a4a4/#general": "slack.com",
    "discord://1234567890/abcdefghijklmnopqrstuvwxyz?thread=1": "discord.com",
    "gchat://workspace/key/token": "chat.googleapis.com",
    f"webex://{KEY}{KEY}AAAAAAAAAAAAAAAA": "api.ciscospark.com",
    f"wxteams://{KEY}/room": "webexapis.com",
    "tgram://123456789:abcdefghijklmnopqrstuvwxyz_ABCDEF/12315544/": "api.telegram.org",
    "zoom://abcd1234/tokentoken": "inbots.zoom.us",
    f"flock://{KEY}": "api.flock.com",
    "line://tokentoken/Uaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": "api.line.me",
    f"lark://{KEY}": "open.larksuite.com",
    f"feishu://{KEY}": "open.feishu.cn",
    f"dingtalk://{KEY}": "oapi.dingtalk.com",
    f"wecombot://{KEY}": "qyapi.weixin.qq.com",
    "pagerduty://integrationkey@apikeyapikey": "events.pagerduty.com",
    "pagerduty://integrationkey@apikeyapikey?region=eu": "events.eu.pagerduty.com",
    f"opsgenie://{KEY}": "api.opsgenie.com",
    f"opsgenie://{KEY}?region=eu": "api.eu.opsgenie.com",
    f"jira://{KEY}": "api.atlassian.com",
    f"splunk://routing@{KEY}/entity": "alert.victorops.com",
    f"victorops://routing@{KEY}/entity": "alert.victorops.com",
    f"squadcast://{KEY}": "api.squadcast.com",
    "pagertree://int_abcdefghijkl": "api.pagertree.com",
    f"spike://{KEY}": "api.spike.sh",
    "signl4://secretsecret": "connect.signl4.com",
    "incidentio://sourcesource/tokentoken": "api.incident.io",
    f"firehydrant://{KEY}": "signals.firehydrant.com",
    "ilert://ilkeyilkeyilkey": "api.ilert.com",
    f"pover://{KEY[:30]}@{KEY[:30]}": "api.pushover.net",
    f"pbul://{KEY}": "api.pushbullet.com",
    f"sendgrid://{MAIL}": "api.sendgrid.com",
    f"mailgun://user@example.com/{KEY}-aaaaaaaa-bbbbbbbb/to@example.com": "api.mailgun.net",
    f"postmark://{MAIL}": "api.postmarkapp.com",
    f"resend://{MAIL}": "api.resend.com",
    f"brevo://{MAIL}": "api.brevo.com",
    f"mailersend://mlsn{MAIL}": "api.mailersend.com",
    f"sparkpost://user@example.com/{KEY}/to@example.com": "api.sparkpost.com",
    f"ses://from@example.com/AHIAJGNT76XIMXDBIJYA/{KEY}/us-east-2/to@example.com":
        "email.us-east-2.amazonaws.com",
    f"azure://from@example.com/{UUID}/{UUID}/secretsecret/to@example.com": "login.microsoftonline.com",
    f"o365://from@example.com/{UUID}/{UUID}/secretsecret/to@example.com": "login.microsoftonline.com",
    f"twilio://AC{KEY}:{KEY}@12345678901/12345678902": "api.twilio.com",
    "vonage://12345678:1234567890123456@12345678901/12345678902": "rest.nexmo.com",
    "nexmo://12345678:1234567890123456@12345678901/12345678902": "rest.nexmo.com",
    f"github://ghp_{KEY}aaaa@owner/repo": "api.github.com",
    f"workflows://{FLOW}:443/643e69f83c8944/xyzxyzxyzxyz": FLOW,
    f"workflow://{FLOW}/643e69f83c8944/xyzxyzxyzxyz": FLOW,
    f"https://{FLOW}:443/workflows/3XXX5/triggers/manual/paths/invoke?api-version=2016-06-01"
    "&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=iXXXU": FLOW,
}  # fmt: skip


class Proxy:
    """Stands where the internet begins: writes down who is asked for, and lets nobody through."""

    def __init__(self) -> None:
        asked: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_CONNECT(self) -> None:
                asked.append(self.path.rpartition(":")[0])
                self.send_error(403)

            def log_message(self, format: str, *args: object) -> None:
                """Keep the tests' output clean."""

        self.asked = asked
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """All that Apprise wants to reach goes here, as the environment's proxy."""
    standing = Proxy()
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, standing.url)
    yield standing
    standing.server.shutdown()
    standing.server.server_close()


ANSWER = {
    "ok": True, "success": True, "status": 1, "code": 0, "errcode": 0, "StatusCode": 0,
    "requestId": "r", "access_token": "t", "token_type": "Bearer", "expires_in": 3600,
    "channel": "C", "message": {"text": "", "ts": "1"}, "messages": [{"status": "0"}],
}  # fmt: skip
"""What pleases most services."""


class Internet(Proxy):
    """Stands where the internet is: every host answers well, and what it is asked is written down."""

    def __init__(self, trust: ssl.SSLContext) -> None:
        requests: list[str] = []
        super().__init__()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_CONNECT(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.connection = trust.wrap_socket(self.connection, server_side=True)
                self.rfile = self.connection.makefile("rb", -1)
                self.wfile = self.connection.makefile("wb", 0)
                self.close_connection = False

            def finish(self) -> None:
                super().finish()
                self.connection.close()

            def do_POST(self) -> None:
                requests.append(self.path)
                self.rfile.read(int(self.headers.get("content-length", "0")))
                slack = self.headers.get("host") == "hooks.slack.com"
                body = b"ok" if slack else json.dumps(ANSWER).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Keep the tests' output clean."""

        self.requests = requests
        self.server.RequestHandlerClass = Handler


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A certificate of every host that is asked, and the file of those who trust it."""
    folder = tmp_path_factory.mktemp("internet")
    server, _ = certificate(folder, *sorted({*EXAMPLES.values(), "graph.microsoft.com"}))
    return server, folder / "receiver.pem"


@pytest.fixture
def internet(
    authority: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Internet]:
    """All that Apprise wants to reach is here."""
    server, file = authority
    standing = Internet(server)
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, standing.url)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    yield standing
    standing.server.shutdown()
    standing.server.server_close()


def send(url: str, *schemes: str, timeout: float = 8, message: Message = MESSAGE) -> Outcome:
    rules = Rules(apprise_schemes=frozenset(schemes), timeout=timeout)
    return channels.send("apprise", url, [], message, rules, NOW)


@pytest.mark.parametrize(("url", "host"), EXAMPLES.items(), ids=lambda text: str(text)[:24])
def test_a_listed_service_goes_to_its_public_host_only(proxy: Proxy, url: str, host: str) -> None:
    """It really instantiates, really sends, and asks for no other host; its failure tells no token."""
    channels.check("apprise", url, Rules())
    outcome = send(url)
    assert outcome.result == "transient"
    assert set(proxy.asked) == {host}
    assert KEY not in repr(outcome)


@pytest.mark.parametrize("url", EXAMPLES, ids=lambda text: str(text)[:24])
def test_every_severity_is_asked_for_and_what_is_sent_was_asked(
    internet: Internet, url: str
) -> None:
    """Where every host answers well, whoever says `sent` has made a request, and the other way round."""
    for severity in ("critical", "warning", "info"):
        internet.requests.clear()
        outcome = send(url, message=dataclasses.replace(MESSAGE, severity=severity))
        assert internet.requests
        assert (outcome.result, outcome.error) == ("sent", None)


@pytest.mark.parametrize("scheme", ["jira", "opsgenie"])
@pytest.mark.parametrize("action", ["note", "close", "delete", "acknowledge"])
def test_an_action_on_earlier_alerts_is_refused(proxy: Proxy, scheme: str, action: str) -> None:
    """When it is saved; and one that was saved before is not called sent."""
    url = f"{scheme}://{KEY}?action={action}"
    with pytest.raises(Invalid, match="must be new, or left out"):
        channels.check("apprise", url, Rules())
    assert (send(url).result, proxy.asked) == ("permanent", [])
    channels.check("apprise", f"{scheme}://{KEY}?action=new", Rules())


def test_a_service_that_has_nothing_to_do_has_sent_nothing(proxy: Proxy) -> None:
    """Apprise says true of it."""
    import apprise

    @apprise.decorators.notify(on="idle")  # type: ignore[no-untyped-call]
    def idle(*_args: object, **_kwargs: object) -> bool:
        return True

    try:
        outcome = send("idle://x", "idle")
    finally:
        services._plugins().remove("idle")
    assert (outcome.result, proxy.asked) == ("permanent", [])
    assert "nothing was sent" in (outcome.error or "")


def test_every_plugin_announces_its_requests_or_is_listed() -> None:
    """A new release of Apprise with another silent one fails here."""
    services._library()
    manager = services._plugins()
    silent = {
        scheme
        for scheme in manager.schemas()
        if not any("self.throttle(" in _source(kind) for kind in manager[scheme].__mro__)
    }
    assert silent - services.NEVER == services.UNTHROTTLED


def _source(kind: type) -> str:
    module = kind.__module__
    owned = module.startswith("apprise.plugins.") and module != "apprise.plugins.base"
    return inspect.getsource(kind) if owned else ""


def test_every_listed_scheme_has_an_example() -> None:
    """A scheme is on the list only with the proof above."""
    shown = {url.partition("://")[0] for url in EXAMPLES}
    assert shown - {"https"} == services.FIXED | set(services.PROVIDED)


ELSEWHERE = ["127.0.0.1", "evil.example%2F", "evil.example%23", "%40evil.example%2F", "x%3Ay%40evil.example%2F",
             "..%2F..%2F", "evil.example%3F", "evil.example%5C", "evil.example%3A80"]  # fmt: skip


@pytest.mark.parametrize("url", EXAMPLES, ids=lambda text: str(text)[:24])
def test_no_spelling_of_a_listed_url_leads_to_another_host(proxy: Proxy, url: str) -> None:
    """Each part of each URL is replaced and wrapped by what could break out of its place."""
    scheme, _, rest = url.partition("://")
    parts = re.split(r"([/@:?=&])", rest)
    for place in range(0, len(parts), 2):
        for bad in ELSEWHERE:
            changed = "".join((*parts[:place], bad + parts[place], *parts[place + 1 :]))
            send(f"{scheme}://{changed}", timeout=2)
    known = set(EXAMPLES.values())
    assert {host for host in proxy.asked if not host.endswith((".logic.azure.com",))} <= known


@pytest.mark.parametrize("host", [
    "evil.example", "logic.azure.com.evil.example", "evil.example%2F.logic.azure.com",
    "evil.example%23.logic.azure.com",
    "127.0.0.1", "xlogic.azure.com", "evil.example%3Fx.logic.azure.com", "a%40b.logic.azure.com",
])  # fmt: skip
def test_a_flow_must_be_microsofts(proxy: Proxy, host: str) -> None:
    """The one listed service that takes a host from its URL."""
    url = f"workflows://{host}/643e69f83c8944/xyzxyzxyzxyz"
    with pytest.raises(Invalid):
        channels.check("apprise", url, Rules())
    assert (send(url).result, proxy.asked) == ("permanent", [])


@pytest.mark.parametrize("url", [
    "json://127.0.0.1/", "jsons://h.example/", "xml://h.example/", "form://h.example/", "ntfy://h.example/t",
    "matrix://u:p@h.example/#r", "mmost://h.example/t", "rocket://u:p@h.example/#r", "gotify://h.example/t",
    "mailto://u:p@h.example", "zulip://bot@evil.example/" + KEY, "irc://h.example/#c", "mqtt://h.example/t",
])  # fmt: skip
def test_a_service_of_ones_own_needs_the_administrators_word(url: str) -> None:
    """It would pass by the guard of webhooks."""
    with pytest.raises(Invalid, match="the administrator can allow it"):
        channels.check("apprise", url, Rules())


@pytest.mark.parametrize("scheme", sorted(services.NEVER))
def test_what_acts_on_this_machine_is_never_allowed(scheme: str) -> None:
    """Not even when it is named in the settings."""
    with pytest.raises(Invalid, match="it is never allowed"):
        channels.check("apprise", f"{scheme}://x/y", Rules(apprise_schemes=frozenset({scheme})))


def test_every_plugin_that_reaches_into_the_machine_is_on_the_list_of_never() -> None:
    """A new release of Apprise with another of them fails here."""
    from apprise.manager_plugins import NotificationManager

    reaching = re.compile(
        r"^\s*(import|from) (subprocess|ctypes|dbus|gi\b|syslog|hid|win32|gntp)|os\.system|\.open\(path|"
        r"AppriseAttachment\(asset=self\.asset\)\s*\n\s*self\.(keyfile|subfile)",
        re.MULTILINE,
    )
    services._library()
    manager = NotificationManager()  # type: ignore[no-untyped-call]
    found = set()
    for scheme in manager.schemas():  # type: ignore[no-untyped-call]
        module = __import__(manager[scheme].__module__, fromlist=["x"])
        if reaching.search(Path(str(module.__file__)).read_text(encoding="utf-8")):
            found.add(scheme)
    assert {"syslog", "macosx", "dbus", "windows"} <= found
    assert found <= services.NEVER


@pytest.mark.parametrize("parameter", [
    "template=/etc/passwd", "TEMPLATE=/etc/passwd", "%74emplate=/etc/passwd", "attach=file:///etc/passwd",
    "verify=no", "redirect=yes", "+X-Header=1", "-x=1", ":token=1", "image=yes", "avatar_url=http://127.0.0.1/",
    "retry=10", "wait=60", "rto=9999", "cto=9999", "store=yes", "keyfile=/etc/passwd", "pgpkey=/etc/passwd",
    "to=x;template=/etc/passwd", "to=x?template=/etc/passwd", "optional=yes", "overflow=split", "tag=x",
])  # fmt: skip
def test_a_parameter_that_reads_files_or_loosens_a_rule_is_refused(parameter: str) -> None:
    """Only what steers the message may be there."""
    for before, mark in (
        (SLACK.replace("#", "%23"), "?"),
        (SLACK.replace("#", "%23"), "?format=text&"),
    ):
        with pytest.raises(Invalid, match="not allowed"):
            channels.check("apprise", f"{before}{mark}{parameter}", Rules())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "slack",
        "://",
        "nope://x/y",
        "slack://",
        "slack://x",
        "notify://x",
        "include://x",
        "file:///etc/passwd",
        "https://hooks.example.com/x",
        "slack://a\n/b/c",
        "slack://" + "x" * 5000,
    ],
)
def test_a_url_that_is_nothing_is_refused_in_one_sentence(url: str) -> None:
    """With what to do, and where the form is described."""
    with pytest.raises(Invalid) as caught:
        channels.check("apprise", url, Rules())
    assert caught.value.detail.endswith(".") or "https://appriseit.com" in caught.value.detail


@given(st.text(max_size=30), st.sampled_from(sorted(services.FIXED)))
def test_any_text_behind_a_scheme_is_taken_or_refused(text: str, scheme: str) -> None:
    """Apprise's hand-made parsers raise what they like."""
    try:
        channels.check("apprise", f"{scheme}://{text}", Rules())
    except Invalid:
        return


def json_url(port: int) -> str:
    return f"json://127.0.0.1:{port}/T0ken"


def test_a_service_of_ones_own_that_was_allowed_is_sent_to() -> None:
    """With the severity as Apprise names it."""
    with receiver(answers(200)) as listening:
        outcome = send(json_url(listening.port), "json")
    assert (outcome.result, outcome.error) == ("sent", None)
    assert b'"type": "failure"' in listening.callers[0].body
    assert b"x retired" in listening.callers[0].body


@pytest.mark.parametrize(
    ("status", "result"),
    [(404, "transient"), (410, "gone"), (413, "permanent"), (500, "transient")],
)
def test_what_apprise_logged_becomes_status_and_sentence(status: int, result: str) -> None:
    """It returns no more than false."""
    with receiver(answers(status, b"T0ken")) as listening:
        outcome = send(json_url(listening.port), "json")
    assert (outcome.result, outcome.status) == (result, status)
    assert str(status) in (outcome.error or "")
    assert "T0ken" not in repr(outcome)


def test_a_redirect_of_a_service_is_not_followed() -> None:
    """It could lead anywhere."""
    with (
        receiver(answers(200)) as inner,
        receiver(answers(307, location=json_url(inner.port).replace("json", "http"))) as outer,
    ):
        outcome = send(json_url(outer.port), "json")
    assert (outcome.result, inner.callers) == ("transient", [])


def _waits(caller: Caller) -> None:
    caller.line.recv(1)


@pytest.mark.parametrize(
    "behave",
    [_waits, says_forever(b"HTTP/1.1 200 OK\r\n\r\n", b"a", 0.02)],
    ids=["waits", "trickles"],
)
def test_a_service_that_does_not_end_is_left_behind(behave: object) -> None:
    """The try ends with its time-out; the thread behind it with its own."""
    with receiver(behave) as listening:  # type: ignore[arg-type]
        outcome = send(json_url(listening.port), "json", timeout=0.5)
        for caller in listening.callers:
            caller.line.shutdown(socket.SHUT_RDWR)
    assert outcome.result == "transient"
    assert outcome.error


def test_the_richest_form_that_a_service_takes_is_sent() -> None:
    """HTML where it is known, then Markdown, then plain text; `format=` outweighs it."""
    forms = {
        SLACK: "markdown",
        SLACK.replace("#", "%23") + "?format=text": "text",
        f"sendgrid://{MAIL}": "html",
        f"pagerduty://integrationkey@{KEY}": "text",
        "tgram://123456789:abcdefghijklmnopqrstuvwxyz_ABCDEF/12315544/": "html",
        "discord://1234567890/abcdefghijklmnopqrstuvwxyz": "markdown",
    }
    chosen = {url: services._form(services._service(url, Rules())).value for url in forms}
    assert chosen == forms


class Log(logging.Handler):
    """The log of the program: what reaches the root. (`caplog` listens behind closed doors too.)"""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def log() -> Iterator[Log]:
    """All that is logged, at the most talkative level."""
    root, kept = logging.getLogger(), Log()
    level = root.level
    root.addHandler(kept)
    root.setLevel(logging.DEBUG)
    yield kept
    root.setLevel(level)
    root.removeHandler(kept)


def test_nothing_of_a_service_is_logged(log: Log, proxy: Proxy) -> None:
    """Apprise and what it stands on would log whole URLs."""
    for url in EXAMPLES:
        send(url)
        with pytest.raises(Invalid):
            channels.check("apprise", f"{url.partition('://')[0]}://{KEY}/?template={KEY}", Rules())
    with receiver(answers(404)) as listening:
        send(json_url(listening.port), "json")
    logged = "\n".join(log.lines)
    words = (KEY, "T0ken", "xyzxyz", "AAAAAAAAAA", "tokentoken", UUID)
    assert not [word for word in words if word in logged]
