"""The dashboard in a real browser: every page, by pointer and by keyboard, wide and narrow, light and dark."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect, sync_playwright

from registry import auth, catalog, targets
from registry.core.lifecycle import Thresholds
from registry.targets import Plan
from tests.factories import NOW, claim, finding
from tests.web.conftest import DONE, DYING, GONE, LIVE, Service

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

BROWSER = os.environ.get("BETA_REGISTRY_TEST_BROWSER") or shutil.which("chromium")
MISSING = (
    "These tests need Chromium. On Debian: apt-get install chromium. Elsewhere set "
    "BETA_REGISTRY_TEST_BROWSER to the path of a Chromium or Chrome."
)
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PAGES = (
    "/", "/betas", f"/betas/{DYING}", "/lifelines", "/matrix", f"/builder?beta={LIVE},{GONE}&feature=dying",
    "/explain", "/changelog", "/inventory", "/alerts", "/targets", "/sign-in", "/nothing-here",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a run of tests of this file.

    Playwright keeps an event loop in the thread: other files' tests could not run one of their own.
    """
    if BROWSER is None:
        pytest.fail(MISSING)
    with sync_playwright() as playwright:
        try:
            launched = playwright.chromium.launch(executable_path=BROWSER, args=list(FLAGS))
        except Error as error:
            pytest.fail(f"{BROWSER} does not start: {error}. {MISSING}")
        yield launched
        launched.close()


@pytest.fixture
def site(service: Service) -> Service:
    """The service with a target, and a beta that was seen there."""
    plan = Plan(
        name="claude-api", platform="anthropic", api=None, model="claude-haiku-4-5",
        endpoint="count_tokens", identity="x", thresholds=Thresholds(), every=timedelta(hours=1),
        confirm_every=timedelta(minutes=2),
    )  # fmt: skip
    with service.database.write() as session:
        targets.ensure(session, [plan], NOW)
    return service


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, site: Service) -> Iterator[Open]:
    """Open pages; at the end nothing may have gone wrong in any, nor another host been asked."""
    base = str(site.http.base_url).rstrip("/")
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def start(path: str = "/", *, wide: int = 1280, **options: Any) -> Page:
        size = {"width": wide, "height": 800}
        context = browser.new_context(base_url=base, viewport=size, **options)  # type: ignore[arg-type]
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: _note(said.type, said.text, wrong))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda asked: (
                wrong.append(asked.url) if not asked.url.startswith((base, "data:")) else None
            ),
        )
        page.goto(path)
        return page

    yield start
    for context in contexts:
        context.close()
    assert wrong == []


def _note(kind: str, text: str, wrong: list[str]) -> None:
    # The browser itself tells of every answer that is an error; pages that ought to be one are fine.
    if kind in ("error", "warning") and "Failed to load resource" not in text:
        wrong.append(text)


def sign_in(page: Page, token: str) -> None:
    """Sign in by hand."""
    page.goto("/sign-in")
    page.get_by_label("Token").fill(token)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_barrier(open_page: Open, site: Service, scheme: str) -> None:
    """Axe finds nothing serious or critical, signed in and in both themes."""
    page = open_page("/", color_scheme=scheme)
    sign_in(page, site.tokens["admin"])
    for path in PAGES:
        page.goto(path)
        for details in page.locator("details").all():
            details.evaluate("element => element.open = true")
        only = {"runOnly": ["color-contrast"]} if scheme == "dark" else None
        found = Axe().run(page, options=only).response["violations"]
        grave = [
            (path, item["id"], item["nodes"][0]["html"][:200], item["nodes"][0]["failureSummary"])
            for item in found
            if item["impact"] in ("serious", "critical")
        ]
        assert grave == []


def test_no_page_scrolls_sideways_on_a_phone(open_page: Open, site: Service) -> None:
    """Wide tables and charts scroll in their own box; all of the navigation can be reached."""
    page = open_page("/", wide=375, has_touch=True)
    sign_in(page, site.tokens["admin"])
    for path in PAGES:
        page.goto(path)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 375, f"{path} is {wide} wide"
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Targets").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Targets")


def test_the_builder_follows_each_choice_and_copies(open_page: Open) -> None:
    """A choice shows at once, stands in the address, and the value lands in the clipboard."""
    page = open_page("/builder", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_label("Find a feature").fill("thing")
    expect(page.get_by_role("checkbox", name=re.compile("done"))).to_be_hidden()
    page.get_by_role("checkbox", name=re.compile("thing")).check()
    expect(page.locator("#sent")).to_have_text(LIVE)
    assert "feature=thing" in page.url
    page.locator("#results").get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == LIVE
    page.get_by_label("Platform").select_option("bedrock")
    page.get_by_label("Policy").select_option("advise")
    expect(page.locator("#sent")).to_have_text(f'{{"anthropic_beta": ["{LIVE}"]}}')
    page.get_by_text("Claude Code settings").click()
    expect(page.locator("#snippet-claude-code")).to_contain_text("ANTHROPIC_BETAS")


def test_filters_stand_in_the_address_and_the_way_back_works(open_page: Open) -> None:
    """Typing filters without a load; the address can be shared, and back goes back."""
    page = open_page("/betas")
    page.evaluate("window.same = true")
    page.get_by_label("Search").press_sequentially("dying")
    expect(page.get_by_role("rowheader")).to_have_count(1)
    assert page.evaluate("window.same")
    page.wait_for_url("**/betas?q=dying")
    page.get_by_label("Search").fill("")
    expect(page.get_by_role("rowheader")).to_have_count(6)
    page.get_by_role("checkbox", name="ga").check()
    expect(page.get_by_role("rowheader")).to_have_count(1)
    expect(page.get_by_role("rowheader")).to_have_text(re.compile(DONE))
    assert page.url.endswith("/betas?status=ga")
    page.go_back()
    expect(page.get_by_role("rowheader")).to_have_count(6)
    expect(page.get_by_role("checkbox", name="ga")).not_to_be_checked()
    page.go_back()
    expect(page.get_by_role("rowheader")).to_have_count(1)
    expect(page.get_by_role("rowheader")).to_have_text(re.compile(DYING))
    expect(page.get_by_label("Search")).to_have_value("dying")
    page.get_by_role("link", name="Status").click()
    expect(page.get_by_role("columnheader", name="Status")).to_have_attribute(
        "aria-sort", "ascending"
    )


def test_filters_are_within_reach_of_the_keyboard(open_page: Open) -> None:
    """Skip link, search, a check box and the first result, without a pointer."""
    page = open_page("/betas")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("Search")).to_be_focused()
    for _ in range(4):
        page.keyboard.press("Tab")
    expect(page.get_by_role("checkbox", name="active")).to_be_focused()
    page.keyboard.press("Space")
    expect(page.get_by_role("rowheader")).to_have_count(3)
    expect(page.get_by_role("checkbox", name="active")).to_be_focused()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('tbody a')"):
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(LIVE)


def test_changing_needs_a_sign_in_that_lasts(open_page: Open, site: Service) -> None:
    """Denied: a forged form, and a session whose token was revoked; the way leads back."""
    page = open_page("/targets")
    page.get_by_role("main").get_by_role("link", name="sign in to see it").first.click()
    page.get_by_label("Token").fill("br_wrong")
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("There is no such token")
    page.get_by_label("Token").fill(site.tokens["write"])
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/targets")
    forged = "document.querySelectorAll('main [name=csrf]').forEach(field => field.value = 'x')"
    page.evaluate(forged)
    page.get_by_role("button", name="Sweep now").click()
    expect(page.get_by_role("main")).to_contain_text("nothing was changed")
    page.goto("/targets")
    with site.database.write() as session:
        number = next(item.id for item in auth.tokens(session) if item.scope == "write")
        auth.revoke(session, number, NOW)
    page.wait_for_timeout(700)  # every process forgets a token within a second
    page.get_by_role("button", name="Sweep now").click()
    page.wait_for_url("**/sign-in?next=%2Ftargets&ended=1")
    expect(page.get_by_role("main")).to_contain_text("You come back to where you were")


def test_dark_and_light_follow_the_system_and_the_reader(open_page: Open) -> None:
    """The system decides until the reader does; the choice holds on every page."""
    page = open_page("/", color_scheme="dark")
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    assert page.evaluate(ground) == "rgb(18, 22, 28)"
    page.get_by_role("button", name="Light").click()
    assert page.evaluate(ground) == "rgb(247, 248, 250)"
    page.goto("/betas")
    assert page.evaluate(ground) == "rgb(247, 248, 250)"
    page.get_by_role("button", name="Dark").click()
    page.reload()
    assert page.evaluate(ground) == "rgb(18, 22, 28)"


def test_charts_tell_the_day_under_the_pointer(open_page: Open) -> None:
    """A line follows the pointer, and its day is written beside the legend."""
    page = open_page("/lifelines")
    page.locator("svg[data-from]").hover(position={"x": 700, "y": 40})
    expect(page.locator("#results .readout")).to_have_text(re.compile(r"^20\d\d-\d\d-\d\d$"))
    expect(page.locator("svg .cursor")).to_have_attribute("visibility", "visible")
    expect(page.locator("svg a").first).to_have_attribute(
        "aria-label", re.compile("dates known|first seen")
    )


def test_everything_works_without_scripts(open_page: Open, site: Service) -> None:
    """Filters, tools, theme and sign-in are forms and links."""
    page = open_page("/betas", java_script_enabled=False)
    page.get_by_label("Search").fill("dying")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("rowheader")).to_have_count(1)
    page.goto("/builder")
    page.get_by_label("Betas by name").fill(LIVE)
    page.get_by_role("button", name="Build").click()
    expect(page.locator("#sent")).to_have_text(LIVE)
    page.goto("/explain")
    page.get_by_label("What came back").fill(
        f"Error code: 400 - Unexpected value(s) `{GONE}` for the `anthropic-beta` header."
    )
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_role("main")).to_contain_text(f"The API refuses {GONE}")
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    sign_in(page, site.tokens["read"])
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in", exact=True)).to_be_visible()


def test_news_arrive_by_themselves(open_page: Open, site: Service) -> None:
    """What the registry learns stands on the open page, marked as new, without a load."""
    page = open_page("/changelog")
    page.evaluate("window.same = true")
    before = page.locator("[data-event]").count()
    made = claim("fresh-2026-11-01", source="release-notes")
    with site.database.write() as session:
        catalog.apply(session, finding("release-notes", made), NOW, NOW)
    expect(page.locator("[data-event].new")).to_have_count(1)
    expect(page.locator("[data-event].new")).to_contain_text("fresh-2026-11-01")
    assert page.locator("[data-event]").count() == before + 1
    assert page.evaluate("window.same")
    expect(page.get_by_role("status").last).to_have_text("The changelog has news.")
