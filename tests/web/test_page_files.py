"""The page's files: complete, safe, revalidated, and linked by relative URLs only."""

import re
from itertools import combinations
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from conftest import Site

from exporter import Config, setup
from exporter.web.page_files import FILES, FOLDER

SCRIPTS = sorted(FOLDER.glob("*.js"))
_REFERENCE = re.compile(r"""(?:href|src)="([^"#]+)"|from "([^"]+)"|url\(([^)]+)\)""")
_COLOUR = re.compile(r"--([\w-]+): (#[0-9a-f]{6});")


async def test_every_file_has_its_type_and_the_strict_policy(site: Site) -> None:
    types = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
    for path in ("/", *(f"/page/{name}" for name in FILES if name != "index.html")):
        async with site.client.get(path) as response:
            assert response.status == 200
            assert response.content_type == types.get(Path(path).suffix or ".html", "image/svg+xml")
            policy = response.headers["Content-Security-Policy"]
            assert policy.startswith(
                "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
                " img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
            )
            assert "unsafe" not in policy
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert response.headers["Cache-Control"] == "no-cache"


async def test_a_cached_file_is_not_sent_again(site: Site) -> None:
    async with site.client.get("/page/main.js") as response:
        etag = response.headers["ETag"]
    for offered, status in ((etag, 304), (f'"other", W/{etag}', 304), ('"other"', 200)):
        async with site.client.get("/page/main.js", headers={"If-None-Match": offered}) as response:
            assert response.status == status
            assert response.headers["ETag"] == etag
            assert "Content-Security-Policy" in response.headers
            assert bool(await response.read()) is (status == 200)


@pytest.mark.parametrize("name", ["index.html", "nothing.js", "..%2fauth.py", ".%00.js"])
async def test_nothing_else_is_served(site: Site, name: str) -> None:
    async with site.client.get(f"/page/{name}") as response:
        assert response.status == 404
        assert response.content_type == "application/json"


async def test_under_a_prefix_the_page_is_found_with_and_without_slash(
    make_config: object,
) -> None:
    config: Config = make_config()  # type: ignore[operator]
    app = web.Application()
    setup(app, config, prefix="/tools/removit")
    async with TestClient(TestServer(app)) as client:
        async with client.get("/tools/removit") as response:
            assert response.status == 200
            assert response.url.path == "/tools/removit/"
            assert "<title>removit-exporter</title>" in await response.text()
        assert (await client.get("/tools/removit/page/main.js")).status == 200


def test_every_reference_is_relative_and_there() -> None:
    for path in FOLDER.iterdir():
        for groups in _REFERENCE.findall(path.read_text()):
            reference = next(filter(None, groups))
            assert "//" not in reference, (path.name, reference)
            assert not reference.startswith("/"), (path.name, reference)
            if reference.startswith(("page/", "./")):
                assert reference.removeprefix("page/").removeprefix("./") in FILES


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_never_turn_text_into_markup_or_code(path: Path) -> None:
    text = path.read_text()
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(",
                "new Function", "DOMParser", "setHTML", "createContextualFragment"):  # fmt: skip
        assert way not in text
    assert len(text.splitlines()) <= 320


def test_the_page_has_no_inline_script_or_style() -> None:
    page = (FOLDER / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", page)


def _luminance(colour: str) -> float:
    """WCAG 2.2, "relative luminance"."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


TEXTS = ("text", "muted", "accent", "done", "failed", "not-found", "invalid", "expired", "warn")
GROUNDS = ("ground", "surface", "raised", "accent-soft")


def _themes() -> list[dict[str, str]]:
    blocks = re.split(
        r"^\s*color-scheme: ", (FOLDER / "theme.css").read_text(), flags=re.MULTILINE
    )[1:]
    return [dict(_COLOUR.findall(block)) for block in blocks]


def test_text_has_aa_contrast_on_every_background_in_both_themes() -> None:
    light, dark, chosen_dark = _themes()
    assert dark == chosen_dark
    for theme in (light, dark):
        for text in TEXTS:
            for ground in GROUNDS:
                assert _contrast(theme[text], theme[ground]) >= 4.5, (text, ground)
        assert _contrast(theme["on-accent"], theme["accent"]) >= 4.5
        assert _contrast(theme["warn"], theme["warn-soft"]) >= 4.5
        for edge in ("edge", "accent"):  # borders of controls, the focus ring
            assert _contrast(theme[edge], theme["surface"]) >= 3
            assert _contrast(theme[edge], theme["ground"]) >= 3


def test_no_state_is_shown_by_hue_alone() -> None:
    signs = dict(re.findall(r"^  (\w+): \[(.+)\],$", (FOLDER / "dom.js").read_text(), re.MULTILINE))
    states = ("pending", "done", "failed", "not_found", "invalid", "expired")
    for one, other in combinations(states, 2):
        assert signs[one] != signs[other]
