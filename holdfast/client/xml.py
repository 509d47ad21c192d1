"""S3's XML as a client meets it: answers in (bounded, no DTD, no entities), bodies out.

DTDs are refused before the parser sees them: no entity can be declared, so none can explode.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from xml.etree import ElementTree

from holdfast.client.errors import S3Error

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
#: of any answer that is parsed; a page of 1,000 keys of 1,024 bytes, percent-encoded, is below 5 MiB
XML_BYTES_MAX = 16 * 1024 * 1024

_SPECIAL = re.compile('[&<>"\x00-\x1f\x7f\ufffe\uffff]')
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


def escape(text: str) -> str:
    return _SPECIAL.sub(lambda m: _NAMED.get(m.group()) or f"&#x{ord(m.group()):x};", text)


# what no XML 1.0 document may hold, not even as a reference (section 2.2)
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]").search


def is_writable(text: str) -> bool:
    return _UNWRITABLE(text) is None


def element(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"


def document(root: str, inner: str) -> bytes:
    return f'<{root} xmlns="{NAMESPACE}">{inner}</{root}>'.encode()


def parse(body: bytes) -> ElementTree.Element:
    """The root element, namespaces stripped. Raises S3Error InvalidResponse."""
    try:
        if b"<!DOCTYPE" in body or b"<!ENTITY" in body or b"\x00" in body:
            raise ValueError("a DTD, or not UTF-8")
        # expat would take another encoding's word for it: S3 writes UTF-8
        tree = ElementTree.fromstring(body.decode("utf-8-sig").lstrip())
    except (ElementTree.ParseError, ValueError) as error:
        raise S3Error("InvalidResponse", f"the server's answer is not S3's XML: {error}") from None
    for node in tree.iter():
        node.tag = node.tag.rpartition("}")[2]
    return tree


def text(node: ElementTree.Element, name: str, default: str = "") -> str:
    return node.findtext(name) or default


def integer(node: ElementTree.Element, name: str) -> int:
    value = node.findtext(name) or ""
    return int(value) if value.isascii() and value.isdigit() else 0


def is_true(node: ElementTree.Element, name: str) -> bool:
    return (node.findtext(name) or "").lower() == "true"


def time(node: ElementTree.Element, name: str) -> datetime | None:
    return iso_time(node.findtext(name) or "")


def iso_time(value: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
