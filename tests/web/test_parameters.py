"""Unknown parameters are errors on every route that reads parameters."""

from http import HTTPStatus

import pytest
from conftest import Site

from exporter.web.parameters import flag_errors, is_number, unknown_parameters


def test_an_unknown_parameter_is_an_error_that_lists_the_known_ones() -> None:
    query = {"limit": "1", "limits": "1", "label.shop": "eu", "labels": "x"}
    hint = "unknown parameter; known are: limit, after, label.<name>"
    assert unknown_parameters(query, ("limit", "after"), ("label.",)) == {
        "limits": [hint],
        "labels": [hint],
    }
    assert unknown_parameters({"x": ""}, ()) == {"x": ["unknown parameter; there are none"]}


def test_a_flag_is_true_or_false() -> None:
    assert flag_errors({}, "follow") == flag_errors({"follow": "false"}, "follow") == {}
    assert flag_errors({"follow": "1"}, "follow") == {"follow": ["expected true or false"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", True), ("9" * 18, True), ("9" * 19, False), ("", False), ("-1", False), ("²", False)],
)
def test_a_number_fits_in_64_bits(text: str, expected: bool) -> None:
    assert is_number(text) is expected


@pytest.mark.parametrize("path", ["jobs", "failures", "events", "summary", "/probe"])
async def test_every_route_refuses_unknown_parameters(site: Site, path: str) -> None:
    url = path if path.startswith("/") else f"/api/v1/{path}"
    async with site.client.get(url, params={"nonsense": "1"}) as response:
        assert response.status == HTTPStatus.UNPROCESSABLE_ENTITY
        details = (await response.json())["details"]
    assert details["nonsense"][0].startswith("unknown parameter; ")
