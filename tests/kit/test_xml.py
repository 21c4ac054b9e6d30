from __future__ import annotations

import pytest

from backends.xml import RawXml, clean, loses_attributes, raw, with_payload, written
from tests.kit.stanzas import STREAM


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"<a/>", "<a/>"),
        (b"<?xml version='1.0' encoding='UTF-8'?>\n<a b='c'/>\n", "<a b='c'/>"),
        (b"\xef\xbb\xbf<a/>", "<a/>"),
        (
            b"<e xmlns:x='urn:x' x:type='x:y'>x:z</e>",
            "<e xmlns:x='urn:x' x:type='x:y'>x:z</e>",
        ),
        ("<?xml version='1.0' encoding='latin-1'?><a>\xe9</a>".encode("latin-1"), "<a>é</a>"),
        (b"<!DOCTYPE a><a><!-- no --><?pi?>x<![CDATA[<]]></a>", "<a>x&lt;</a>"),
    ],
)
def test_xml_of_others_is_made_fit(data: bytes, text: str) -> None:
    assert raw(data) == text


@pytest.mark.parametrize("data", [b"", b"text", b"<a>", b"<a/><b/>", b"<x:a/>", b"\xff<a/>"])
def test_what_is_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="not well-formed"):
        raw(data)


def test_characters_that_xml_has_no_place_for() -> None:
    assert clean("a\x00b\x0b\tc\ud800\U0001f600") == "a\ufffdb\ufffd\tc\ufffd\U0001f600"


def test_attributes_of_foreign_namespaces_are_not_lost() -> None:
    message = STREAM.make_message("alice@localhost", "hi")
    assert not loses_attributes(message.xml)
    message.xml[0].set("{urn:x}type", "a<b")
    assert loses_attributes(message.xml)
    text = written(message, STREAM)
    assert 'xmlns:ns1="urn:x"' in text
    assert 'ns1:type="a&lt;b"' in text


def test_a_payload_as_text() -> None:
    iq = STREAM.make_iq_result("1", "alice@localhost", "svc.localhost")
    text = with_payload(iq, RawXml("<a xmlns='urn:a'/>"))
    assert text.startswith("<iq ")
    assert text.endswith("><a xmlns='urn:a'/></iq>")
