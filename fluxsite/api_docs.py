"""`/api/schema` and `/api/docs`: the schema of the API for programs, and for people."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework import exceptions
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request


@extend_schema(exclude=True)
class SchemaView(SpectacularAPIView):
    """The schema, in JSON or YAML. There is one version of it, whatever is asked for."""

    # The first answers errors too.
    renderer_classes = [OpenApiJsonRenderer, OpenApiYamlRenderer, JSONRenderer]

    def _get_version_parameter(self, request: Request) -> None:
        # It would go into a header as it came.
        return None


class DocsView(SpectacularSwaggerSplitView):
    """The schema as a page. It has nothing to tell but its page: visitors who are not signed in
    are led to where they can be, and whoever asks for its options is told its methods."""

    def options(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return HttpResponse(headers={"Allow": ", ".join(self.allowed_methods)})

    def handle_exception(self, exc: Exception) -> Any:
        if isinstance(exc, exceptions.NotAuthenticated):
            return redirect_to_login(self.request.get_full_path())
        return super().handle_exception(exc)
