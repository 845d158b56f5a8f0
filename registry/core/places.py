"""Where a claim holds and where a request goes: the parts of a place, each of which may be unknown.

    Place       platform, API, hosting, region, model, endpoint; None is "any" of a claim, "not said" of a request
    place_of    checks what somebody wrote; what contradicts itself is refused with one sentence
    covers      whether what is claimed for one place holds at another
    may_cover   whether it could, if more were known of the other

Betas are taken or refused by the exact place (CONTRACT, section 1): Bedrock has three APIs, Foundry two
hostings, regions and models differ. So a place travels whole, from the claim to the judgement.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Final, Literal, cast, get_args

from registry.core.errors import Invalid
from registry.core.names import PLATFORMS, Platform, model_matches

__all__ = [
    "ANYWHERE",
    "APIS",
    "DEFAULT_ENDPOINT",
    "HOSTINGS",
    "KNOWN_PLACES",
    "MAX_PART",
    "PARTS",
    "Api",
    "Hosting",
    "Place",
    "check_place",
    "covers",
    "endpoint_name",
    "may_cover",
    "place_of",
]

Api = Literal["invoke", "converse", "mantle"]
"""The APIs of Bedrock: betas stand in the body of the first two and in the header of the last."""
Hosting = Literal["anthropic", "azure"]
"""Who runs a deployment on Foundry."""
APIS: Final[tuple[Api, ...]] = get_args(Api)
HOSTINGS: Final[tuple[Hosting, ...]] = get_args(Hosting)

DEFAULT_ENDPOINT: Final = "messages"
MAX_PART: Final = 512
"""Characters of a region, model or endpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place; what is None is not said: a claim then holds for any, a request goes to one not known."""

    platform: Platform | None = None
    api: Api | None = None
    hosting: Hosting | None = None
    region: str | None = None
    model: str | None = None
    endpoint: str | None = None

    def __str__(self) -> str:
        """Name the place in a sentence: `bedrock (converse) in eu-west-1 for claude-opus-4-7`."""
        text: str = self.platform or "every platform"
        detail = self.api or (f"hosted by {self.hosting.title()}" if self.hosting else None)
        text += f" ({detail})" if detail else ""
        text += f" in {self.region}" if self.region else ""
        text += f" for {self.model}" if self.model else ""
        narrow = self.endpoint is not None and self.endpoint != DEFAULT_ENDPOINT
        return text + (f" on {self.endpoint}" if narrow else "")

    @property
    def slug(self) -> str:
        """Name platform, API and hosting in a path or a key: `bedrock-invoke`, `foundry-azure`, `vertex`."""
        return "-".join(filter(None, (self.platform or "any", self.api or self.hosting)))

    @property
    def details(self) -> dict[str, str | None]:
        """Return its parts but the platform, which a report of usage names once for all its items."""
        return {part: getattr(self, part) for part in PARTS[1:]}

    @property
    def parts(self) -> int:
        """Return how many parts are said: the narrower of two places says more."""
        return sum(getattr(self, part) is not None for part in PARTS)

    @property
    def platform_wide(self) -> bool:
        """Say whether the place is a platform as a whole."""
        return self.platform is not None and self.parts == 1


PARTS: Final = tuple(part.name for part in fields(Place))
ANYWHERE: Final = Place()

KNOWN_PLACES: Final[dict[str, Place]] = {
    place.slug: place
    for platform in PLATFORMS
    for place in (
        [Place(platform=platform, api=api) for api in APIS]
        if platform == "bedrock"
        else [Place(platform=platform, hosting=hosting) for hosting in HOSTINGS]
        if platform == "foundry"
        else [Place(platform=platform)]
    )
}
"""The places that differ by more than region and model, by their slugs: what lists and matrices show."""


def place_of(
    *,
    platform: str | None = None,
    api: str | None = None,
    hosting: str | None = None,
    region: str | None = None,
    model: str | None = None,
    endpoint: str | None = None,
) -> Place:
    """Make a place of what somebody wrote; empty text is None.

    Raises `Invalid` with one sentence for words that are none, and for parts that exclude each other.
    """
    if platform:
        _word(platform, PLATFORMS, "platform")
    if api:
        _word(api, APIS, "Bedrock API")
        if platform != "bedrock":
            raise Invalid(
                f"`api` is for bedrock only; leave it out for {platform or 'no platform'}."
            )
    if hosting:
        _word(hosting, HOSTINGS, "hosting of Foundry")
        if platform != "foundry":
            raise Invalid(
                f"`hosting` is for foundry only; leave it out for {platform or 'no platform'}."
            )
    for what, text in (("region", region), ("model", model), ("endpoint", endpoint)):
        if text and (len(text) > MAX_PART or not text.isprintable()):
            raise Invalid(f"`{what}` must be at most {MAX_PART} printable characters.")
    return Place(
        platform=cast("Platform | None", platform or None),
        api=cast("Api | None", api or None),
        hosting=cast("Hosting | None", hosting or None),
        region=(region or "").strip().lower() or None,
        model=(model or "").strip() or None,
        endpoint=endpoint_name(endpoint) if endpoint else None,
    )


def _word(word: str, allowed: tuple[str, ...], what: str) -> None:
    if word not in allowed:
        raise Invalid(f"{word[:64]!r} is not a {what}; use one of {', '.join(allowed)}.")


@lru_cache(maxsize=1024)
def endpoint_name(text: str) -> str:
    """Take `/v1/messages` for `messages`, and what a target asks by default for messages."""
    plain = text.strip().strip("/").removeprefix("v1/").split("?")[0]
    return "messages" if plain in ("auto", "models", "list", "") else plain.replace("/", ".")


def check_place(
    platform: str | None, api: str | None, hosting: str | None, region: str | None
) -> None:
    """Check what somebody says of a place whose platform something else may tell. Raises as `place_of`."""
    if platform:
        place_of(platform=platform, api=api, hosting=hosting, region=region)
    else:
        place_of(platform="bedrock", api=api, region=region)
        place_of(platform="foundry", hosting=hosting)


def covers(stated: Place, asked: Place) -> bool:
    """Say whether what is stated for one place holds at another: each part that it says must be that one.

    What a request leaves open is not that one: a claim about a model says nothing of an unknown model.
    """
    return _meet(stated, asked, unsaid=False)


def may_cover(stated: Place, asked: Place) -> bool:
    """Say whether what is stated could hold at another place, were its unsaid parts known."""
    return _meet(stated, asked, unsaid=True)


def _meet(stated: Place, asked: Place, *, unsaid: bool) -> bool:
    if stated.model is not None and not (
        unsaid if asked.model is None else model_matches(stated.model, asked.model)
    ):
        return False
    if stated.endpoint is not None and endpoint_name(stated.endpoint) != (
        endpoint_name(asked.endpoint) if asked.endpoint else DEFAULT_ENDPOINT
    ):
        return False
    return all(
        want is None or (unsaid if have is None else want == have)
        for want, have in (
            (stated.platform, asked.platform),
            (stated.api, asked.api),
            (stated.hosting, asked.hosting),
            (stated.region, asked.region),
        )
    )
