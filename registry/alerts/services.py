"""The services that Apprise reaches: which of them may be used, and one try to send.

Apprise connects by itself, so the guard of webhooks does not stand behind it. What stands instead:

- Only schemes whose requests go to fixed public hosts, whatever the URL says (`FIXED`), and one whose host
  must belong to its provider (`PROVIDED`). Everything else takes a host from the URL; an administrator who
  names such a scheme trusts whoever writes subscriptions with every host that scheme can speak to.
- Schemes that act on this machine are never used, not even when named (`NEVER`).
- Of a URL's parameters only those are taken that steer the message (`PARAMETERS`). Apprise has others
  that read files (`template`, `attach`, `keyfile`, `pgpkey`), fetch URLs or switch protections off (`verify`,
  `redirect`); a list of what is bad would be out of date with its next release.
- Redirects are not followed, nothing is stored, keys are not made.

Apprise calls a message delivered when nothing failed, also when it had nothing to do. A message is sent here only
when a request was made for it.

Apprise is imported when first needed: it is large.
"""

from __future__ import annotations

import functools
import logging
import re
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from registry.alerts.sending import (
    Message,
    Outcome,
    Refused,
    Result,
    Rules,
    hidden_in,
    meaning,
    tidy,
)

if TYPE_CHECKING:
    import apprise

__all__ = ["FIXED", "NEVER", "PARAMETERS", "PROVIDED", "UNTHROTTLED", "check", "send"]

FIXED: Final = frozenset(
    {
        # Chat. The host of their URLs is a token, a channel or a bot.
        "slack", "discord", "gchat", "webex", "wxteams", "tgram", "zoom", "flock", "line",
        "lark", "feishu", "dingtalk", "wecombot",
        # On call.
        "pagerduty", "opsgenie", "jira", "splunk", "victorops", "squadcast", "pagertree", "spike",
        "signl4", "incidentio", "firehydrant", "ilert", "pover", "pbul",
        # Mail and text messages over the provider's API. The host of their URLs is the sender's domain.
        "sendgrid", "mailgun", "postmark", "resend", "brevo", "mailersend", "sparkpost", "ses",
        "azure", "o365", "twilio", "vonage", "nexmo",
        # Issues.
        "github",
    }
)  # fmt: skip
"""Schemes whose requests go to hosts that are written down in Apprise, and to nothing else."""

PROVIDED: Final = {
    # Microsoft Teams: the host names the region of the flow.
    "workflows": re.compile(r"([a-z0-9-]+\.)+(logic\.azure\.(com|us|cn)|api\.powerplatform\.com)"),
    "workflow": re.compile(r"([a-z0-9-]+\.)+(logic\.azure\.(com|us|cn)|api\.powerplatform\.com)"),
}
"""Schemes that take a host from the URL, which must belong to the provider."""

NEVER: Final = frozenset(
    {
        "syslog", "rsyslog",  # the machine's log
        "dbus", "kde", "qt", "gio", "glib", "gnome", "macosx", "windows", "growl",  # its desktop
        "blink1",  # its devices
        "fcm", "vapid",  # read key files
        "apprise", "apprises",  # another Apprise, which knows none of these rules
    }
)  # fmt: skip
"""Schemes that act on this machine, run programs or read files."""

UNTHROTTLED: Final = frozenset({"strmlabs"})
"""Schemes that ask without calling `throttle` first, which Apprise demands of its plugins."""

_NEW_ONLY: Final = frozenset({"jira", "opsgenie"})
"""Schemes whose other actions change alerts that were made before."""

PARAMETERS: Final = frozenset(
    {
        "action", "alias", "apikey", "assignees", "batch", "bcc", "blocks", "category", "cc", "class",
        "component", "dedup", "entity", "footer", "format", "from", "group", "labels", "method", "mode",
        "name", "ping", "priority", "region", "reply", "reply_to", "savesent", "service", "silent",
        "source", "status", "tags", "thread", "timestamp", "to", "token", "topic", "tts", "wrap",
        # What a URL copied out of Microsoft Teams carries.
        "api-version", "id", "pa", "powerautomate", "route", "routeid", "sig", "signature", "sp", "sv",
        "ver", "workflow",
    }
)  # fmt: skip
"""Parameters that steer a message and nothing else."""

_SELF_HOSTED: Final = PARAMETERS | {
    "channels",
    "pass",
    "password",
    "port",
    "smtp",
    "user",
    "version",
}

MOST_AT_ONCE: Final = 64
_THREAD: Final = "alerts-apprise"
_TYPES: Final = {"critical": "failure", "warning": "warning"}
_STATUS: Final = re.compile(r"\berror=([1-5][0-9]{2})\b")
_ADDRESS: Final = re.compile(r"((?:with url: |https?://[^/\s'\"]+)/)[^\s'\"]*")
_running: Final = threading.BoundedSemaphore(MOST_AT_ONCE)


class _Quiet(logging.Filter):
    """Drops what the libraries below log while a message is sent: URLs, which hold the tokens."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep records of other threads."""
        return not (record.threadName or "").startswith(_THREAD)


@functools.cache
def _library() -> Any:
    """Import Apprise with all its plugins. What it logs stays in the outcome, where it can be masked."""
    with warnings.catch_warnings():
        # Its plugins import modules that Python is about to drop, long before they would use them.
        warnings.simplefilter("ignore", DeprecationWarning)
        import apprise
        from apprise.manager_plugins import NotificationManager

        NotificationManager().load_modules()  # type: ignore[no-untyped-call]
    logger = logging.getLogger("apprise")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    logger.setLevel(logging.WARNING)
    for name in ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry"):
        logging.getLogger(name).addFilter(_Quiet())
    return apprise


def _plugins() -> Any:
    _library()
    from apprise.manager_plugins import NotificationManager

    return NotificationManager()  # type: ignore[no-untyped-call]


def check(url: str, rules: Rules) -> None:
    """Refuse a URL that must not or cannot be used. Raises `Refused`."""
    _service(url, rules)


def _service(url: str, rules: Rules) -> apprise.NotifyBase:
    """Make the service of a URL, when every rule admits it."""
    scheme = _scheme(url)
    if scheme not in ("http", "https"):
        _admit(scheme, rules)
    parsed = _parsed(url)
    scheme = str(parsed["schema"]).lower()
    _admit(scheme, rules)
    fixed = scheme in FIXED or scheme in PROVIDED
    _admit_parameters(url, parsed, PARAMETERS if fixed else _SELF_HOSTED)
    service = _library().Apprise.instantiate(url, asset=_asset())
    if service is None:
        raise _wrong(f"The URL is not complete for {scheme}://{_help(scheme)}.")
    host = PROVIDED.get(scheme)
    if host is not None and not host.fullmatch(str(service.host).lower()):
        raise _wrong(f"The host of a {scheme}:// URL must be Microsoft's; copy the flow's own URL.")
    if scheme in _NEW_ONLY:
        _make_new_alerts(scheme, service)
    return service  # type: ignore[no-any-return]


def _make_new_alerts(scheme: str, service: Any) -> None:
    """Let every severity make an alert: Apprise would note `info` on one that nobody remembers."""
    if service.action not in ("map", "new"):
        raise _wrong(
            f"`action` of a {scheme}:// URL must be new, or left out: the others change earlier alerts, "
            "which are not remembered between messages."
        )
    kinds = _library().NotifyType
    service.mapping[kinds.INFO] = service.mapping[kinds.WARNING]


def _scheme(url: str) -> str:
    scheme, found, _ = url.partition("://")
    if not found or not re.fullmatch(r"[A-Za-z0-9]{1,32}", scheme):
        raise _wrong("This is no Apprise URL; write it like slack://token/channel.")
    if any(not char.isprintable() for char in url) or len(url) > 2048:
        raise _wrong("The URL is too long or holds an unseen character; take it out.")
    return scheme.lower()


def _admit(scheme: str, rules: Rules) -> None:
    if scheme in NEVER:
        raise _wrong(f"{scheme}:// acts on the machine of this service; it is never allowed.")
    if scheme in FIXED or scheme in PROVIDED or scheme in rules.apprise_schemes:
        return
    if scheme not in _plugins():
        raise _wrong(f"Apprise knows no {scheme}://; see https://appriseit.com/services/.")
    raise _wrong(
        f"{scheme}:// is not among the services of fixed public hosts; the administrator can allow it."
    )


def _parsed(url: str) -> dict[str, Any]:
    _library()
    from apprise import plugins

    try:
        parsed = plugins.url_to_dict(url)  # type: ignore[no-untyped-call]
    except Exception:  # Plugins parse by hand, and what they raise holds the URL.
        parsed = None
    if not parsed or "schema" not in parsed:
        raise _wrong("Apprise cannot read this URL; see https://appriseit.com/services/.")
    return dict(parsed)


def _admit_parameters(url: str, parsed: dict[str, Any], allowed: frozenset[str]) -> None:
    """Compare by Apprise's reading and by a plain one: a service may read its URL its own way."""
    query = url.partition("?")[2]
    plain = {unquote(pair.partition("=")[0]) for pair in re.split(r"[?&;]", query)}
    named = {name.strip().lower() for name in (*plain, *(parsed.get("qsd") or {}))} - {""}
    for name in sorted(named - allowed):
        shown = name if re.fullmatch(r"[a-z_-]{1,24}", name) else "one"
        raise _wrong(f"The URL has a parameter that is not allowed ({shown}); leave it out.")


def _help(scheme: str) -> str:
    plugin = _plugins()[scheme]
    setup = getattr(plugin, "setup_url", None)
    return f"; see {setup}" if setup else ""


def _asset() -> Any:
    return _library().AppriseAsset(
        app_id="beta-registry",
        app_desc="beta-registry",
        app_url="",
        async_mode=False,
        http_redirects=False,
        pgp_autogen=False,
        pem_autogen=False,
        service_timeout=0,  # the deadline is kept here: Apprise's pool would be one for all receivers
        storage_mode="memory",
        allow_templates=False,
    )


def _wrong(sentence: str) -> Refused:
    return Refused(sentence, "permanent")


def send(url: str, secrets: Sequence[str], message: Message, rules: Rules) -> Outcome:
    """Try once. What goes wrong is told in the outcome."""
    _library()  # The first import may take as long as a try; the receiver is not to blame for it.
    started = time.monotonic()
    hidden = hidden_in(url, secrets)
    try:
        said = _within(
            started + rules.timeout, lambda: _notify(_service(url, rules), message, rules)
        )
    except Refused as refused:
        return _outcome(started, refused.result, None, "", refused.sentence)
    if said is None:
        return _outcome(started, "sent", None, "", None)
    answer = tidy(_ADDRESS.sub(r"\1***", said), hidden)
    found = _STATUS.search(said)
    status = int(found[1]) if found else None
    result = meaning(status) if status and status >= 300 else "transient"
    return _outcome(
        started, result, status, answer, answer or "The service did not take the message."
    )


def _outcome(
    started: float, result: Result, status: int | None, answer: str, error: str | None
) -> Outcome:
    return Outcome(
        result=result,
        status=status,
        latency_ms=round((time.monotonic() - started) * 1000),
        answer=answer,
        error=error,
        retry_after=None,
    )


def _notify(service: apprise.NotifyBase, message: Message, rules: Rules) -> str | None:
    """Send. Returns None when the service took it, else what Apprise logged about it."""
    service.socket_connect_timeout = service.socket_read_timeout = min(4.0, rules.timeout)
    service.overflow_mode = _library().OverflowMode.TRUNCATE
    # Apprise waits seconds between two receivers of one URL, which the deadline of a try does not have.
    service.request_rate_per_sec = min(service.request_rate_per_sec, 0.2)
    asked = _requests_of(service)
    form = _form(service)
    sender = _library().Apprise(asset=service.asset)
    sender.add(service)
    result = sender.notify(
        title=message.title,
        body={"html": message.html, "markdown": message.markdown}.get(form.value, message.text),
        body_format=form,
        notify_type=_library().NotifyType(_TYPES.get(message.severity, "info")),
        log_level=logging.WARNING,
    )
    if not result:
        return " ".join(entry.message for entry in result.logs())
    if not asked and not isinstance(service, tuple(_plugins()[name] for name in UNTHROTTLED)):
        raise Refused(
            "The service made no request for this message, so nothing was sent; check what its URL asks for.",
            "permanent",
        )
    return None


def _requests_of(service: Any) -> list[float]:
    """Note when the service is about to make a request; it calls `throttle` before each."""
    asked: list[float] = []
    throttle = service.throttle

    def noted(*given: Any, **named: Any) -> None:
        asked.append(time.monotonic())
        throttle(*given, **named)

    service.throttle = noted
    return asked


def _form(service: apprise.NotifyBase) -> Any:
    """Choose the richest form that the service takes; `format=` in its URL outweighs it."""
    known = _library().NotifyFormat
    rich = (known.HTML, known.MARKDOWN)
    return next(
        (form for form in rich if service.resolve_format(form) == form),
        service.resolve_format(None),
    )


def _within(deadline: float, work: Callable[[], str | None]) -> str | None:
    """Work in a thread of its own and stop waiting at the deadline: what Apprise waits for has none.

    A thread that is left behind ends when its sockets' time-outs do; how many there may be is bounded.
    """
    if not _running.acquire(timeout=max(deadline - time.monotonic(), 0)):
        raise Refused(
            "Too many messages to services are on their way; this one waits.", "transient"
        )
    ended: list[str | Exception | None] = []

    def run() -> None:
        try:
            ended.append(work())
        except Exception as error:
            ended.append(error)
        finally:
            _running.release()

    thread = threading.Thread(target=run, name=_THREAD, daemon=True)
    thread.start()
    thread.join(max(deadline - time.monotonic(), 0))
    if not ended:
        raise Refused(
            "The service did not answer in time; it may have the message all the same.", "transient"
        )
    if isinstance(ended[0], Refused):
        raise ended[0]
    if isinstance(ended[0], Exception):
        raise Refused(f"The service failed ({type(ended[0]).__name__}).", "transient")
    return ended[0]
