"""A Django project in one file: a guest book.

python -m backends.asgi backends.examples.django_app:app --jid svc.demo/book --secret demo

It takes ``pip install django``.  A message to ``svc.demo/sign`` signs it and gets an answer; an iq
of type get to ``svc.demo/book`` reads it.
"""

from __future__ import annotations

from xml.etree import ElementTree

import django
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],  # the JID that is spoken to, whatever it is
    ROOT_URLCONF=__name__,
    SECRET_KEY="an example has no secrets",
    USE_TZ=True,
)
django.setup()

book: list[str] = []


def sign(request: HttpRequest) -> HttpResponse:
    """Write into the book what a message says; ``xmpp-reply`` sends the response back."""
    text = ElementTree.fromstring(request.body).text or ""
    book.append(f"{request.headers['xmpp-stanza-from']}: {text}")
    return HttpResponse("thank you", headers={"xmpp-reply": "true"}, content_type="text/plain")


def read(_: HttpRequest) -> HttpResponse:
    """The book."""
    return HttpResponse("\n".join(book), content_type="text/plain")


urlpatterns = [path("sign", sign), path("book", read)]
app = get_asgi_application()
