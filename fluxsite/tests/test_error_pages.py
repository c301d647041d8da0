"""What went wrong is said calmly, and there is a way on."""

from __future__ import annotations

import re

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.template.loader import render_to_string
from django.test import Client, RequestFactory
from django.urls import path
from django.utils.module_loading import import_string

from fluxsite import urls as site


def test_the_page_of_an_error_of_ours_names_the_request_and_leads_back():
    request = RequestFactory().get("/", headers={"Accept-Language": "en"})
    request.COOKIES["theme"] = "dark"

    answer = import_string(site.handler500)(request)

    page = answer.content.decode()
    assert answer.status_code == 500
    assert 'data-theme="dark"' in page
    assert re.search(r"name this request:\s*<code>[\w-]+</code>", page)
    assert 'href="/"' in page
    assert 'href="/history"' in page


def test_a_form_that_comes_too_late_says_what_to_do(db):
    answer = Client(enforce_csrf_checks=True).post("/theme", {"theme": "dark"})

    assert answer.status_code == 403
    assert "reload the page and send the form once more" in answer.content.decode()


def test_what_is_not_there_leads_to_the_studio_and_the_history(client, db):
    answer = client.get("/no/such/page")

    assert answer.status_code == 404
    assert 'href="/"' in answer.content.decode()
    assert 'href="/history"' in answer.content.decode()


@pytest.mark.parametrize("name", ["400", "403", "403_csrf", "404", "413"])
def test_an_error_page_can_be_drawn_for_a_request_that_got_no_further(name):
    page = render_to_string(f"{name}.html", request=RequestFactory().get("/"))

    assert "<h1>" in page
    assert 'class="button primary"' in page


@pytest.mark.parametrize("name", ["500", "503"])
def test_the_worst_pages_need_neither_request_nor_database(name):
    page = render_to_string(f"{name}.html")

    assert "<h1>" in page
    assert 'class="button primary"' in page


@pytest.mark.parametrize(("error", "status"), [(PermissionDenied, 403), (SuspiciousOperation, 400)])
def test_a_refusal_keeps_its_status(client, db, settings, error, status):
    settings.ROOT_URLCONF = urls(error)
    client.raise_request_exception = False

    answer = client.get("/refused")

    assert answer.status_code == status
    assert "<h1>" in answer.content.decode()


def urls(error: type[Exception]) -> type:
    """Return the site's addresses, and one more that is always refused."""

    def refuse(_request):
        raise error

    class Addresses:
        urlpatterns = [path("refused", refuse), *site.urlpatterns]
        handler400, handler404, handler500 = site.handler400, site.handler404, site.handler500

    return Addresses
