"""S3's XML: bodies in (bounded, no DTD, no entities) and answers out (written, not built)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote
from xml.etree import ElementTree

from holdfast.s3.errors import S3Error

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
#: of a request's document; up to this size one is understood at once, a longer one beside the loop
XML_BODY_BYTES_MAX = 64 * 1024
#: of those that list many things
LONG_XML_BODY_BYTES_MAX = 2 * 1024 * 1024
XML_TYPE = ("Content-Type", "application/xml")
#: tags of a document, twice what a part list of 10,000 has with two checksums each
TAGS_MAX = 200_000
#: parsed at once: within it, no other thread of the process runs
PARSE_STEP_CHARS = 32 * 1024

T = TypeVar("T")

# what XML 1.0 can't carry as it is: markup, and control characters as references, as S3 writes them
_SPECIAL = re.compile('[&<>"\x00-\x1f\x7f\ufffe\uffff]')
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


def _reference(match: re.Match[str]) -> str:
    char = match.group()
    return _NAMED.get(char) or f"&#x{ord(char):x};"


def escape(text: str) -> str:
    """Text of an element or attribute."""
    return _SPECIAL.sub(_reference, text)


def element(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"


# what no XML 1.0 document may hold, not even as a reference (section 2.2)
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def legible(text: str) -> str:
    """Text for a document that must parse whatever is in it: what XML can't hold becomes `%XX`."""
    return _UNWRITABLE.sub(lambda match: quote(match.group(), errors="replace"), text)


def document(root: str, *inner: str) -> bytes:
    """A whole answer with S3's namespace. Its parts are joined once, as they may be many."""
    return "".join((f'{DECLARATION}<{root} xmlns="{NAMESPACE}">', *inner, f"</{root}>")).encode()


def _tree(text: str) -> ElementTree.Element:
    """Raises ParseError, ValueError."""
    parser = ElementTree.XMLParser()
    tags = 0
    for start in range(0, len(text), PARSE_STEP_CHARS):
        step = text[start : start + PARSE_STEP_CHARS]
        found = step.count("<")
        tags += found
        # a tag's many attributes are understood at its end, all at once
        if tags > TAGS_MAX or (not found and len(step) == PARSE_STEP_CHARS):
            raise ValueError("a document that S3 has no use for")
        parser.feed(step)
    tree: ElementTree.Element = parser.close()
    return tree


def parse(body: bytes, root: str) -> ElementTree.Element:
    """The root element, namespaces stripped from every tag. Raises MalformedXML.

    DTDs are refused before the parser sees them: no entity can be declared, so none can explode.
    So are more than TAGS_MAX tags, and a tag or text that fills a whole step and more.
    """
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise S3Error("MalformedXML") from None
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise S3Error("MalformedXML")
    try:
        tree = _tree(text)
    except (ElementTree.ParseError, ValueError):
        raise S3Error("MalformedXML") from None
    for node in tree.iter():
        if isinstance(node.tag, str):
            node.tag = node.tag.rpartition("}")[2]
    if tree.tag != root:
        raise S3Error("MalformedXML")
    return tree


async def understood(work: Callable[[bytes], T], body: bytes) -> T:
    """What `work` makes of a request's document. Raises what it raises."""
    if len(body) <= XML_BODY_BYTES_MAX:
        return work(body)
    return await asyncio.to_thread(work, body)


def text_of(node: ElementTree.Element, name: str) -> str | None:
    """The text of a child, "" when it is empty, None when it is absent."""
    child = node.find(name)
    return None if child is None else (child.text or "")
