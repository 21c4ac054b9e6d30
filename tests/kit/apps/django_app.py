"""A Django project in one file: synchronous and asynchronous views, forms of answers, errors."""

from __future__ import annotations

from xml.etree import ElementTree

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["svc.localhost"],
    ROOT_URLCONF=__name__,
    SECRET_KEY="for tests",
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    USE_TZ=True,
)
django.setup()


def hello(request: HttpRequest, name: str) -> HttpResponse:
    return HttpResponse(f"Hello, {name}, from {request.get_host()}", content_type="text/plain")


async def count(request: HttpRequest) -> HttpResponse:
    numbers = [int(each.text or 0) for each in ElementTree.fromstring(request.body)]
    answer = f"<sum xmlns='urn:example:sum'>{sum(numbers)}</sum>"
    return HttpResponse(answer, content_type="application/xml")


def who(request: HttpRequest) -> JsonResponse:
    return JsonResponse(
        {
            "method": request.method,
            "from": request.headers["xmpp-stanza-from"],
            "address": request.META["REMOTE_ADDR"],
            "query": request.GET.dict(),
        }
    )


def forbidden(_: HttpRequest) -> HttpResponse:
    raise PermissionDenied


def missing(_: HttpRequest) -> HttpResponse:
    raise Http404


urlpatterns = [
    path("hello/<str:name>", hello),
    path("count", count),
    path("who", who),
    path("forbidden", forbidden),
    path("missing", missing),
]
app = get_asgi_application()
