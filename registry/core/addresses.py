"""Where an address leads: platform, API, region, model and endpoint, as far as a URL or its path tells.

The hosts are those of the official SDK, 2.12.0. Who hosts a deployment on Foundry no address tells. Nothing
here raises.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import Final
from urllib.parse import unquote

from registry.core.places import ANYWHERE, MAX_PART, Place

__all__ = ["endpoint_of", "is_known_host", "model_of", "place_of_url", "place_told"]

_REGION = r"(?P<region>[a-z]{2}[a-z0-9-]{2,30})"
_HOSTS: Final = tuple(
    (re.compile(pattern), place)
    for pattern, place in (
        (
            rf"bedrock-runtime(?:-fips)?\.{_REGION}\.(?:amazonaws\.com(?:\.cn)?|api\.aws)",
            Place(platform="bedrock", api="invoke"),
        ),
        (rf"bedrock-mantle\.{_REGION}\.api\.aws", Place(platform="bedrock", api="mantle")),
        (rf"aws-external-anthropic\.{_REGION}\.api\.aws", Place(platform="aws")),
        (r"claude\.googleapis\.com", Place(platform="google-cloud")),
        (
            rf"(?:{_REGION}-)?aiplatform(?:\.[a-z0-9.-]+)?\.googleapis\.com",
            Place(platform="vertex"),
        ),
        (
            r"[a-z0-9-]+\.(?:services\.ai|openai|cognitiveservices)\.azure\.com",
            Place(platform="foundry"),
        ),
        (r"api(?:-[a-z]+)?\.anthropic\.com", Place(platform="anthropic")),
    )
)
_MODEL: Final = re.compile(
    r"/model/(?P<bedrock>[^/?\s]+)/(?P<call>invoke|converse)(?:-(?:with-response-)?stream)?(?![\w-])"
    r"|/publishers/anthropic/models/(?P<vertex>[^/:?\s]+)"
)
_LOCATION: Final = re.compile(r"/locations/([a-z][a-z0-9-]{1,30})(?=/)")
_WORD: Final = re.compile(r"[a-z_]{1,32}")
_NO_MODELS: Final = frozenset({"count-tokens"})
"""What stands in a path where a model would, and is none."""


def place_of_url(url: str) -> Place:
    """Tell the place by a URL; what no rule knows is taken for the Claude API, as a gateway in front of it."""
    place = place_told(url)
    return place if place.platform else Place(platform="anthropic")


def place_told(url: str) -> Place:
    """Tell the place by a URL's host, else by a path that only one platform has; endpoints are not told.

    What neither tells is anywhere.
    """
    authority, slash, path = url.partition("://")[2].partition("/")
    path = slash + path
    place = _of_host(_host(authority))
    call = _MODEL.search(path)
    if place is None and call is not None:
        place = Place(platform="bedrock" if call["bedrock"] else "vertex")
    if place is None:
        return ANYWHERE
    if place.platform == "bedrock" and call is not None and call["bedrock"]:
        place = replace(place, api="converse" if call["call"] == "converse" else "invoke")
    if place.platform in ("vertex", "google-cloud") and (location := _LOCATION.search(path)):
        place = replace(place, region=location[1])
    return replace(place, model=model_of(path))


def is_known_host(url: str) -> bool:
    """Say whether a URL's host is one of a platform, and not that of some gateway."""
    return _of_host(_host(url.partition("://")[2].partition("/")[0])) is not None


def _host(authority: str) -> str:
    return authority.rpartition("@")[2].partition(":")[0].lower()


def _of_host(host: str) -> Place | None:
    for pattern, place in _HOSTS:
        if found := pattern.fullmatch(host):
            return replace(place, region=found.groupdict().get("region"))
    return None


def model_of(path: str) -> str | None:
    """Return the model that a path of Bedrock or Vertex names."""
    found = _MODEL.search(path)
    if found is None:
        return None
    model = unquote(found["bedrock"] or found["vertex"])
    return None if model in _NO_MODELS or len(model) > MAX_PART else model


def endpoint_of(path: str) -> str:
    """Return `messages` for creating, counting and batching messages, else the path after `/v1/`.

    An id, and what follows it, is no part of it: endpoints are few.
    """
    if _MODEL.search(path):
        return "messages"
    words = path.partition("?")[0].rpartition("/v1/")[2].strip("/").split("/")
    if words[0] == "messages":
        return "messages"
    return "/".join(itertools.takewhile(_WORD.fullmatch, words))
