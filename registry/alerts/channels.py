"""The sending edge of alerts: one message to one receiver, over a channel that is guarded.

Callers know four calls. `check` refuses a URL when it is saved; `send` tries once and always returns an
outcome; `mask` is the only form in which a URL may be shown; `new_secret` makes what webhooks are signed
with. The module knows no database and no subscription.
"""

from __future__ import annotations

import base64
import logging
import secrets as randomness
from collections.abc import Sequence
from datetime import datetime

from registry.alerts import guard, services
from registry.alerts.sending import Message, Outcome, Refused, Rules
from registry.alerts.webhooks import Webhooks
from registry.core.errors import Invalid

__all__ = ["Message", "Outcome", "Rules", "check", "mask", "new_secret", "send"]

_log = logging.getLogger(__name__)


def check(channel: str, url: str, rules: Rules) -> None:
    """Refuse a URL that could not be sent to, saying what to do. Resolves its host. Raises `Invalid`."""
    try:
        if channel == "webhook":
            Webhooks().check(url, rules)
        elif channel == "apprise":
            services.check(url, rules)
        else:
            raise Refused(
                f"There is no channel {channel[:40]!r}; use webhook or apprise.", "permanent"
            )
    except Refused as refused:
        raise Invalid(refused.sentence, slug="invalid-channel") from None


def send(
    channel: str,
    url: str,
    secrets: Sequence[str],
    message: Message,
    rules: Rules,
    now: datetime,
) -> Outcome:
    """Try once to bring a message to a receiver. Never raises; `sending.py` says what an outcome means."""
    try:
        if channel == "webhook":
            return Webhooks().send(url, secrets, message, rules, now)
        if channel == "apprise":
            return services.send(url, secrets, message, rules)
        sentence, result = f"There is no channel {channel[:40]!r}.", "permanent"
    except Exception as error:
        # A bug must not stop the deliveries behind this one; its text could hold the URL.
        sentence, result = (
            f"Sending failed by a fault of ours ({type(error).__name__}).",
            "transient",
        )
        _log.error("A message could not be sent: %s.", type(error).__name__)
    return Outcome(
        result="permanent" if result == "permanent" else "transient",
        status=None,
        latency_ms=0,
        answer="",
        error=sentence,
        retry_after=None,
    )


def mask(channel: str, url: str) -> str:
    """Return what may be shown of a URL: of a webhook scheme and host, of a service its scheme."""
    scheme, found, _ = url.partition("://")
    if channel == "webhook" or scheme.lower() in ("http", "https"):
        try:
            place = guard.read(url, Rules(allow_private=True))
        except Refused:
            return "***"
        return f"{place.scheme}://{place.authority}/***"
    return f"{scheme}://***" if found and scheme.isalnum() and len(scheme) <= 32 else "***"


def new_secret() -> str:
    """Make a secret to sign webhooks with: 32 random bytes as Standard Webhooks writes them."""
    return "whsec_" + base64.b64encode(randomness.token_bytes(32)).decode("ascii")
