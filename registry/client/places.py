"""Which place a request of the SDK leads to, by the client that sends it.

The classes are those of the SDK, 2.12.0; addresses are read by `registry.core.addresses`. What neither
tells is taken for the Claude API, as a gateway in front of it would be; where that is wrong, name the
platform.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from registry.core.addresses import place_of_url
from registry.core.places import MAX_PART, Place, check_place, place_of

__all__ = ["Given", "given_place", "of_client", "sending_client"]

_CLASSES: Final[dict[str, Place]] = {
    "AnthropicAWS": Place(platform="aws"),
    "AnthropicGoogleCloud": Place(platform="google-cloud"),
    "AnthropicBedrock": Place(platform="bedrock", api="invoke"),
    "AnthropicBedrockMantle": Place(platform="bedrock", api="mantle"),
    "AnthropicVertex": Place(platform="vertex"),
    "AnthropicFoundry": Place(platform="foundry"),
}


def of_client(client: object) -> Place:
    """Tell the place by a client of the SDK, subclasses included; its address or itself tells the region."""
    by_url = place_of_url(str(getattr(client, "base_url", "")))
    for kind in type(client).__mro__:
        place = _CLASSES.get(kind.__name__.removeprefix("Async"))
        if place is not None:
            own = by_url.region if by_url.platform == place.platform else None
            return replace(place, region=own or _region(client))
    return by_url


def _region(client: object) -> str | None:
    """Return the region that a client of the SDK was made for."""
    for name in ("region", "aws_region"):
        region = getattr(client, name, None)
        if isinstance(region, str) and region.strip():
            return region.strip().lower()[:MAX_PART]
    return None


@dataclass(frozen=True, slots=True)
class Given:
    """What somebody said of the place, beside what a client or an address tells.

    With a platform it is the place. Without one, its parts complete a place that does not tell them: `hosting`
    one of Foundry, `api` one of Bedrock, `region` any.
    """

    place: Place | None
    api: str | None = None
    hosting: str | None = None
    region: str | None = None

    def complete(self, told: Place) -> Place:
        """Return where a request goes, as far as this and what is `told` of it say."""
        if self.place is not None:
            return self.place
        if told.platform is None or (self.api is self.hosting is self.region is None):
            return told
        return place_of(
            platform=told.platform,
            api=told.api or (self.api if told.platform == "bedrock" else None),
            hosting=told.hosting or (self.hosting if told.platform == "foundry" else None),
            region=told.region or self.region,
            model=told.model,
            endpoint=told.endpoint,
        )


def given_place(
    platform: str | None, api: str | None, hosting: str | None, region: str | None
) -> Given:
    """Read what somebody said of the place. Raises `Invalid` for words that are none."""
    if platform is not None:
        return Given(place_of(platform=platform, api=api, hosting=hosting, region=region))
    check_place(None, api, hosting, region)
    return Given(None, api, hosting, region)


def sending_client(call_next: Callable[..., Any]) -> Any | None:
    """Return the client that sends, given what the SDK hands to a middleware to call next.

    The SDK (2.12) tells a middleware no client, but `call_next` is the rest of a chain of functions whose
    innermost one belongs to it: each holds the next one as `call_next`, and the last the client as
    `self`. None where the chain is built otherwise, such as by a wrapper of one's own.
    """
    function: Any = call_next
    for _ in range(100):
        code, cells = getattr(function, "__code__", None), getattr(function, "__closure__", None)
        if code is None or not cells:
            return None
        held = dict(zip(code.co_freevars, cells, strict=True))
        if "self" in held:
            return held["self"].cell_contents
        if "call_next" not in held:
            return None
        function = held["call_next"].cell_contents
    return None
