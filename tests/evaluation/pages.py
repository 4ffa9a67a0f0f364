"""A page as a parser sees it."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """What is opened, what is closed, what is said, and what a browser would fetch or run."""

    VOID = {"meta", "br", "img", "link", "input"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.fetched, self.ids, self.said = [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            outside = name in ("src", "href", "action", "data", "srcset") and not str(value).startswith("#")
            if outside or name.startswith("on"):
                self.fetched.append((tag, name, value))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.said.append(data)
