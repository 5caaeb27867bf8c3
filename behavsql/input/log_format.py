"""How the lines of a web server's log are written: nginx's variables, as a regular expression.

Apache's words for them are translated (apache_format.py).
"""

import re
from collections.abc import Iterator

from behavsql.input import apache_format

_COMMON = '$remote_addr $ident $remote_user [$time_local] "$request" $status $body_bytes_sent'
_COMBINED = f'{_COMMON} "$http_referer" "$http_user_agent"'
# main: what nginx's packages set.
NAMED = {
    "common": _COMMON,
    "combined": _COMBINED,
    "main": f'{_COMBINED} "$http_x_forwarded_for"',
}
EXAMPLE = '$remote_addr [$time_local] "$request" $status'
# Variable -> the column it becomes; others keep their names.
COLUMNS = {
    "remote_addr": "address", "http_referer": "referrer", "http_user_agent": "user_agent",
    "request_method": "method", "server_protocol": "protocol", "body_bytes_sent": "bytes",
    "bytes_sent": "bytes", "request_uri": "uri",
}  # fmt: skip
# Variable with the time -> how it is read.
TIMES = {
    "time_local": {"at_format": "%d/%b/%Y:%H:%M:%S %z"},
    "time_iso8601": {},
    "msec": {"at_unit": "epoch"},
}
# What a line is, and the role of that. A redirection is followed by the page, an asset belongs to one.
WORDS = {
    "page_view": "view", "submit": "action",
    "asset": "other", "redirect": "other", "error": "other", "probe": "other",
}  # fmt: skip
# What may have blanks in it without quotes around it: what others send, and what several others took.
_SPACED = re.compile(r"http_|sent_http_|cookie_|upstream_|request$|time_local$")
# The column of what of a request tells people from programs, as words: whatever is dropped, it is judged.
SIGNS = "robot signs"
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def pieces(log_format: str) -> list[str]:
    """Text, variable, text, variable ... text.

    >>> pieces('[$msec] "$uri"')
    ['[', 'msec', '] "', 'uri', '"']
    """
    text = NAMED.get(log_format) or apache_format.translated(log_format)
    found, start = [], 0
    for match in _VARIABLE.finditer(text):
        found += [text[start : match.start()], match[1] or match[2]]
        start = match.end()
    return [*found, text[start:]]


def variables(log_format: str) -> list[str]:
    return pieces(log_format)[1::2]


def columns(log_format: str) -> list[str]:
    """The names of the fields, as they stand in a line."""
    return [COLUMNS.get(name, name) for name in variables(log_format)]


def pattern(log_format: str) -> str:
    """The regular expression of a whole line, a group for each variable.

    A field ends at the letter that follows it, the last one with the line or its first blank. Between
    quotes, where servers write a quote as \\", that one belongs to the field.
    """
    told = pieces(log_format)
    found = [_escaped(told[0])]
    for name, after in zip(told[1::2], told[2::2], strict=True):
        found += [f"({_field(name, after[:1])})", _escaped(after)]
    return f"^{''.join(found)}\\s*$"


def _field(name: str, after: str) -> str:
    if not after:
        return ".*" if _SPACED.match(name) else r"\S*"
    if after == '"':
        return r'(?:[^"\\]|\\.)*'
    if after == " " and name == "time_local":
        return "[^ ]* [^ ]*"  # the offset stands apart
    return f"[^{_escaped(after)}]*"


def _escaped(text: str) -> str:
    return re.sub(r"([^\w ])", r"\\\1", text)


def problems(log_format: str) -> Iterator[str]:
    """What is wrong with a format, each without its full stop."""
    told = pieces(log_format)
    names, between = told[1::2], told[2:-1:2]
    shown = f'log_format = "{log_format}"'
    if unknown := apache_format.unknown(log_format):
        yield f"{shown} has {unknown[0]}, which is none of Apache's directives that can be read"
        return
    if not names:
        yield (
            f"{shown} names no fields; allowed are {', '.join(NAMED)}, or the server's own words such "
            f"as '{EXAMPLE}' or '%h %l %u %t \"%r\" %>s %b'"
        )
        return
    if "" in between:
        place = between.index("")
        yield (
            f"{shown} has nothing between ${names[place]} and ${names[place + 1]}, so that their "
            f"ends cannot be told; put a space there"
        )
    same = [COLUMNS.get(name, name) for name in names]
    if twice := [name for name in dict.fromkeys(same) if same.count(name) > 1]:
        yield f"{shown} tells {twice[0]} twice; each field has a name of its own"
    if sum(name in TIMES for name in names) != 1:
        yield f"{shown} has to tell the time once, as one of ${', $'.join(TIMES)}"
    if not {"request", "request_uri", "uri"} & {*names}:
        yield f"{shown} tells no page: it has none of $request, $request_uri, $uri"
    if not {"remote_addr", "remote_user"} & {*names}:
        yield f"{shown} tells nobody: it has neither $remote_addr nor $remote_user"


def mapping(log_format: str) -> dict[str, object]:
    """The keys of a source that reads the columns that are made of the log's lines."""
    names = variables(log_format)
    told = {"user_id": "visitor", "event_at": "time", "item_id": "page", "event_type": "event"}
    if "http_user_agent" in names:
        told["user_agent"] = "user_agent"
    reading = next((TIMES[name] for name in names if name in TIMES), {})
    return {"columns": told, **reading}
