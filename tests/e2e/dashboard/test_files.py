"""The page's files over HTTP: types, tags, policy, and nothing beside them."""

import http.client
from urllib.parse import urlsplit

import pytest

from ailb_server.dashboard.bundle import Bundle
from tests.support.stack import Stack

BUNDLE = Bundle.load()


def get(
    stack: Stack, path: str, verb: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """Of the path as it is written, which no client tidies."""
    place = urlsplit(stack.rest)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    try:
        connection.request(verb, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("name", ["", *sorted(BUNDLE.files)])
def test_every_file_is_served_to_anybody(locked: Stack, name: str) -> None:
    response, data = get(locked, f"/dashboard/{name}".rstrip("/"))
    file = BUNDLE.find(name)
    assert file is not None
    assert (response.status, data) == (200, file.data)
    assert response.headers["content-type"] == file.content_type
    assert response.headers["etag"] == file.etag
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_the_policy_is_strict(locked: Stack) -> None:
    response, _ = get(locked, "/dashboard")
    policy = dict(
        part.strip().split(" ", 1)
        for part in response.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in response.headers["content-security-policy"]
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
def test_what_a_browser_has_is_not_sent_again(locked: Stack, form: str) -> None:
    etag = BUNDLE.files["main.js"].etag
    response, data = get(locked, "/dashboard/main.js", if_none_match=form.format(etag))
    assert (response.status, data) == (304, b"")
    assert response.headers["etag"] == etag
    assert "content-length" not in response.headers
    response, data = get(locked, "/dashboard/main.js", if_none_match='"other"')
    assert (response.status, data) == (200, BUNDLE.files["main.js"].data)


@pytest.mark.parametrize(
    "path",
    [
        "/dashboard/nothing.js",
        "/dashboard/bundle.py",
        "/dashboard/..%2fbundle.py",
        "/dashboard/%2e%2e%2fbundle.py",
        "/dashboard/..%5cbundle.py",
        "/dashboard/static/main.js",
        "/dashboard/%2fetc%2fpasswd",
        "/dashboard/main.js%00",
        "/dashboards",
    ],
)
def test_nothing_else_is(locked: Stack, path: str) -> None:
    response, data = get(locked, path)
    assert response.status in {400, 404}
    assert b'"error"' in data


def test_a_query_names_no_file(locked: Stack) -> None:
    _, data = get(locked, "/dashboard?file=main.js")
    assert data == BUNDLE.files["index.html"].data


def test_the_page_has_one_address(locked: Stack) -> None:
    response, _ = get(locked, "/dashboard/")
    assert response.status == 308
    assert urlsplit(response.headers["location"]).path == "/dashboard"


@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE"])
def test_it_is_only_read(locked: Stack, verb: str) -> None:
    response, _ = get(locked, "/dashboard", verb)
    assert (response.status, response.headers["allow"]) == (405, "GET")


def test_its_figures_need_a_key(locked: Stack) -> None:
    for path in ("/api/routing/traffic", "/api/routing/stats", "/admin/v1/usage"):
        response, _ = get(locked, path)
        assert response.status == 401


def test_without_keys_the_page_asks_for_none(stack: Stack) -> None:
    _, data = get(stack, "/dashboard")
    assert b'data-key="none"' in data
