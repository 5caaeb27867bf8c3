"""Apache's words for a log's format -> nginx's: `%h [%t] "%r"` and `$remote_addr [$time_local] "$request"`."""

import re

_WORDS = {
    "h": "$remote_addr", "a": "$remote_addr", "l": "$ident", "u": "$remote_user", "t": "[$time_local]",
    "r": "$request", "s": "$status", "b": "$body_bytes_sent", "B": "$body_bytes_sent", "O": "$bytes_sent",
    "I": "$request_length", "S": "$bytes_transferred", "D": "$request_microseconds", "T": "$request_time",
    "m": "$request_method", "U": "$uri", "q": "$args", "H": "$server_protocol", "v": "$server_name",
    "V": "$server_name", "p": "$server_port", "A": "$server_addr", "P": "$pid", "L": "$request_id",
    "k": "$connection_requests", "X": "$connection_status", "f": "$request_filename", "R": "$handler",
}  # fmt: skip
# A letter with something in braces before it: a header, a cookie and so on, of that name.
_NAMED = {"i": "http_", "o": "sent_http_", "C": "cookie_", "e": "env_", "n": "note_"}
_TIMES = {
    "%d/%b/%Y:%H:%M:%S %z": "$time_local", "%Y-%m-%dT%H:%M:%S%z": "$time_iso8601", "sec": "$msec",
}  # fmt: skip
_TIMED = {"": "$request_time", "s": "$request_time", "ms": "$request_milliseconds",
          "us": "$request_microseconds"}  # fmt: skip
# %>s %!200,304{Referer}i %{%d/%b/%Y}t, and the page, whose query Apache tells apart
_DIRECTIVE = re.compile(r"%U%q|%(?:!?[\d,]+)?[<>]?(?:\{([^}]*)\})?\^?([A-Za-z%])")


def is_apache(log_format: str) -> bool:
    """Whether a format is written in Apache's words."""
    return "$" not in log_format and bool(_DIRECTIVE.search(log_format))


def translated(log_format: str) -> str:
    r"""The format in nginx's words; a directive nobody knows stays as it stands.

    >>> translated(r'%h %l %u %t \"%r\" %>s %O \"%{User-Agent}i\"')
    '$remote_addr $ident $remote_user [$time_local] "$request" $status $bytes_sent "$http_user_agent"'
    """
    if not is_apache(log_format):
        return log_format
    # Between the quotes of a configuration those of the format have a \ before them.
    return _DIRECTIVE.sub(_word, log_format.replace('\\"', '"'))


def unknown(log_format: str) -> list[str]:
    """The directives that nobody knows, as they stand."""
    if not is_apache(log_format):
        return []
    return [match[0] for match in _DIRECTIVE.finditer(log_format) if _word(match) == match[0]]


def _word(match: re.Match[str]) -> str:
    braces, letter = match[1], match[2]
    if match[0] == "%U%q":
        return "$request_uri"
    if letter == "%":
        return "%"
    if letter in _NAMED and braces:
        return f"${_NAMED[letter]}" + re.sub(r"\W", "_", braces.lower())
    if letter == "t" and braces is not None:
        return _TIMES.get(braces, match[0])
    if letter == "T" and braces is not None:
        return _TIMED.get(braces, match[0])
    return _WORDS.get(letter, match[0])
