"""An HTML page, read back: its tags, attributes and visible text; refused where tags do not nest."""

from __future__ import annotations

import re
from collections import Counter
from html import unescape
from html.parser import HTMLParser

VOID = {"meta", "br", "col", "input"}


class Page(HTMLParser):
    """Tags, attributes and visible text of a page; fails on tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html = html
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, f"left open: {self._open}"
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop() == tag, f"</{tag}> is crossed"

    def handle_data(self, data: str) -> None:
        if self._open[-1:] not in (["style"], ["script"]):
            self.text += data if data.strip() == data else f" {data} "

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]

    def rows(self, table: str) -> list[list[str]]:
        """The text of the cells of each row of the table with this id, its head first."""
        start = self.html.index(f'id="{table}"')
        part = self.html[start : self.html.index("</table>", start)]
        found = []
        for row in re.findall(r"<tr.*?>(.*?)</tr>", part, flags=re.DOTALL):
            cells = re.findall(r"<t[dh].*?</t[dh]>", row, flags=re.DOTALL)
            found.append([" ".join(unescape(re.sub(r"<[^>]*>", " ", cell)).split()) for cell in cells])
        return found
