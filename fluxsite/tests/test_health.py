import pytest
from django.conf import settings
from django.db import connection
from django.db.backends.signals import connection_created
from django.db.utils import OperationalError

from fluxsite.health import healthz

pytestmark = pytest.mark.django_db


def test_a_site_that_reaches_its_database_is_healthy(client):
    response = client.get("/healthz")

    assert response.status_code == 200
    assert response.json() == {"status": "ok", "version": settings.VERSION}


def test_nobody_needs_to_log_in_and_no_cache_may_answer(client):
    response = client.head("/healthz")

    assert response.status_code == 200
    assert response.content == b""
    assert "no-store" in response["Cache-Control"]


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_other_methods_are_refused(client, method):
    assert getattr(client, method)("/healthz").status_code == 405


@pytest.mark.django_db(transaction=True)
def test_a_site_without_its_database_says_so(rf):
    def refuse(**_kwargs):
        raise OperationalError("could not connect to db.internal as fluxsite")

    connection.close()
    connection_created.connect(refuse)
    try:
        response = healthz(rf.get("/healthz"))
    finally:
        connection_created.disconnect(refuse)
        connection.close()

    assert response.status_code == 503
    assert response.content == b'{"status": "unavailable", "reason": "database: OperationalError"}'
