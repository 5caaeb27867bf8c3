"""An HTML page as a test reads it: its elements, their text, and what is wrong with it."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br", "img", "hr"}
SVG_EMPTY = {"line", "rect", "circle", "polyline", "polygon", "path"}
ALLOWED = {
    "html", "head", "meta", "title", "link", "style", "script", "body", "a", "header", "p", "span",
    "button", "div", "nav", "details", "summary", "ol", "ul", "li", "main", "section", "h1", "h2",
    "h3", "h4", "dl", "dt", "dd", "b", "footer", "figure", "figcaption", "table", "caption", "thead",
    "tbody", "tr", "th", "td", "pre", "code", "form", "label", "input", "article", "svg", "text",
    "desc", "g", *SVG_EMPTY,
}  # fmt: skip


@dataclass
class Element:
    """A tag with its attributes, the text in it, and what it stands in."""

    name: str
    attributes: dict[str, str]
    parents: tuple[str, ...]
    text: str = ""
    children: list["Element"] = field(default_factory=list)


class Page(HTMLParser):
    """All elements in order; unbalanced tags are an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[Element] = []
        self.open: list[Element] = []
        self.feed(text)
        assert self.open == [], [element.name for element in self.open]

    def handle_starttag(self, tag: str, attrs: list) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs},
                          tuple(one.name for one in self.open))  # fmt: skip
        assert len(attrs) == len(element.attributes), attrs
        self.elements.append(element)
        if self.open:
            self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1].name == tag, (tag, self.getpos())
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data

    def all(self, name: str, **attributes: str) -> list[Element]:
        """The elements of this name with these attributes."""
        return [
            element
            for element in self.elements
            if element.name == name
            and all(element.attributes.get(key.rstrip("_")) == value for key, value in attributes.items())
        ]  # fmt: skip


def problems(text: str) -> list[str]:
    """What a page must not have: foreign elements, handlers, requests, broken ids, unnamed charts."""
    page = Page(text)
    found = [f"element {one.name}" for one in page.elements if one.name not in ALLOWED]
    ids = [one.attributes["id"] for one in page.elements if "id" in one.attributes]
    found += [f"id twice: {name}" for name in {*ids} if ids.count(name) > 1]
    for one in page.elements:
        for name, value in one.attributes.items():
            if name.startswith("on") or name == "style":
                found.append(f"{one.name} {name}")
            if name in ("src", "action", "srcset", "xlink:href", "data", "poster"):
                found.append(f"{one.name} {name}={value}")
            if name == "href" and not (
                (value[:1] == "#" and value[1:] in ids) or value == "data:,"
            ):
                found.append(f"{one.name} leads to {value}")
            if name.startswith("aria-") and name[5:] in ("labelledby", "describedby", "controls"):
                found += [f"no {target}" for target in value.split() if target not in ids]
    for svg in page.all("svg"):
        inner = [one.name for one in svg.children]
        if inner[:2] != ["title", "desc"] or not all(one.text.strip() for one in svg.children[:2]):
            found.append("a chart without title and description")
        if not {"figure"} & {*svg.parents}:
            found.append("a chart outside a figure")
    found += [f"a figure without its numbers: {one.text[:60]}" for one in page.all("figure")
              if any(child.name == "svg" for child in _within(one)) and not _has(one, "table")]  # fmt: skip
    levels = [int(one.name[1]) for one in page.elements if re.fullmatch("h[1-6]", one.name)]
    found += [f"h{after} after h{before}" for before, after in zip([0, *levels], levels, strict=False)
              if after > before + 1]  # fmt: skip
    found += ["no header cells"] * sum(not _has(one, "th") for one in page.all("table"))
    found += [css for css in re.findall(r"url\([^)]*\)|@import[^;]*", page.all("style")[0].text)]
    return found


def _within(element: Element) -> list[Element]:
    found = list(element.children)
    for child in element.children:
        found += _within(child)
    return found


def _has(element: Element, name: str) -> bool:
    return any(one.name == name for one in _within(element))
