"""One source under inspection: its parts are given their columns one by one."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb

from behavsql.errors import ConfigError, SourceError
from behavsql.input import json_lines, refused_lines, shapes
from behavsql.input.sources import described, kind_of
from behavsql.quoting import identifier
from behavsql.roles import DEFAULT_TYPES
from behavsql.sniffing import Choices, Sniffed, beside, look
from behavsql.sniffing import column_names as names
from behavsql.sniffing.column_looks import HALF, MOSTLY, Look, column_looks
from behavsql.sniffing.known import as_log, as_shape
from behavsql.sniffing.measure import measure, note_refused
from behavsql.sniffing.text_files import reading_of
from behavsql.sniffing.times import take_time

SAMPLE_ROWS = 20_000
MOST_WORDS = 50
MOST_TYPES = 100  # more different values than this in a sample are no event types
MOST_FACTS = 20
AMOUNTS = ("value", "price", "quantity", "latitude", "longitude", "screen_time")


class SourceSniffer:
    """`run` looks at one source and returns what it found."""

    def __init__(
        self, con: duckdb.DuckDBPyConnection, path: str, files: list[Path], choices: Choices
    ) -> None:
        self.con, self.path, self.choices = con, path, choices
        self.files, self.reading = files, reading_of(files)
        reading = self.reading
        self.relation, self.types = look(con, files, reading)
        given = choices.columns()
        self.shape = None if given else shapes.of_columns({*self.types})
        if self.shape:
            shaped = shapes.relation(path, self.shape, self.relation, self.types)
            self.relation, self.types = described(con, shaped)
        self.given = {
            option: columns
            for option, columns in given.items()
            if all(name in self.types for name in columns)
        }
        self.columns: dict[str, Any] = {}
        self.used: set[str] = set()
        self.found = Sniffed({"name": "events", "path": path} | reading.raw)
        self.found.why |= reading.why
        self.found.doubts += reading.doubts
        if kind_of(reading.source, files[0]) == "json" and (
            torn := json_lines.count(con, [str(path) for path in files])
        ):
            self.found.doubts.append(f"lines: {torn:,} are no JSON and will be rejected.")
        self._sample()
        self.looks = column_looks(con, self.types)

    def _sample(self) -> None:
        refused_lines.forget(self.con)
        self.con.execute(
            f"create or replace temp table sample as from {self.relation} limit {SAMPLE_ROWS}"
        )
        if self.con.execute("select count(*) from sample").fetchall()[0][0]:
            return
        if refused_lines.count_refused(self.con):
            raise SourceError(
                f"{self.path}: no line can be read; allowed is text in UTF-8, Latin-1 or UTF-16 with "
                f"the same columns in every line. Convert it, for example: "
                f"iconv -f windows-1252 -t utf-8."
            )
        raise SourceError(
            f"{self.path}: has a header but no rows; allowed is at least one. Check the file."
        )

    def run(self) -> Sniffed:
        """Decide every part; without a user or a time these are facts about items or users."""
        if self.found.raw.get("kind") == "weblog":
            return as_log(self, self.files)
        if self.shape:
            return as_shape(self, self.shape)
        reserved = {name for columns in self.given.values() for name in columns}
        self.used |= reserved  # so that no part takes what another was given
        self._check_amounts()
        if told := beside.as_dated_facts(self):
            return told
        has_user, has_time = self.take_user(), take_time(self)
        self._item()
        if has_user and has_time:
            self._type()
            self._amounts()
        for part in ("category", "title"):
            self.take(part, None, lambda look: not look.is_temporal)
        self._user_agent()
        if has_user and has_time:
            beside.take_anonymous(self)
            beside.take_places(self)
            self._decimal()
        self.found.raw["columns"] = self.columns
        self.found.unused = [name for name in self.types if name not in self.used]
        if has_user and has_time:
            self._default_type()
            measure(self.con, self.relation, self.types, self.found)
        else:
            self._as_facts(has_user)
        note_refused(self.con, self.found)
        return self.found

    def assign(self, part: str, column: str, why: str) -> None:
        """Give a part its column, and note what told so."""
        self.columns[part] = column
        self.used.add(column)
        self.found.why[part] = why

    def take(self, part: str, option: str | None, accept: Callable[[Look], bool]) -> bool:
        """Give a part its column: the chosen one, else the best named that is accepted."""
        if option in self.given:
            self.assign(part, self.given[option][0], "given")
            return True
        fitting = [name for name in names.best(part, self.types) if name not in self.used]
        fitting = [name for name in fitting if accept(self.looks[name])]
        if not fitting:
            return False
        self.assign(part, fitting[0], "by its name")
        if option and fitting[1:]:
            self.found.doubts.append(
                f"{part}: {' or '.join(fitting[1:])} would fit too (--{option} {fitting[1]})."
            )
        return True

    def take_user(self) -> bool:
        if len(self.given.get("user", [])) > 1:
            self.columns["user_id"] = self.given["user"]
            self.found.why["user_id"] = "given, together one user"
            return True
        for name in self.given.get("user", [])[:1]:
            if self.looks[name].is_temporal:
                raise ConfigError(
                    f"--user: {name} holds times such as {self.looks[name].example!r}, which name no "
                    f"user; its columns are {', '.join(self.types)}. Name another."
                )
        if self.take("user_id", "user", lambda look: not look.is_temporal):
            return True
        ids = [
            name for name, look in self.looks.items()
            if name not in self.used and names.may_identify(name) and not self._is_named(name)
            and 1 < look.distinct < look.filled
        ]  # fmt: skip
        if not ids or not any(look.is_temporal for look in self.looks.values()):
            return self.miss("user", "is named after users")
        column = max(ids, key=lambda name: (self.looks[name].distinct, name))
        each = self.looks[column].filled / self.looks[column].distinct
        self.assign("user_id", column, f"a guess: an id with {each:.1f} rows each")
        self.found.doubts.append(
            f"user_id: no column is named after users; {column} was taken (--user sets another)."
        )
        return True

    def _is_named(self, name: str) -> bool:
        return any(
            names.plays(part, name) is not None for part in ("item_id", "category", "event_type")
        )

    def miss(self, option: str, what: str) -> bool:
        """Note that these are no events; always False."""
        hint = " (a mere position: --at-unit order)" if option == "time" else ""
        self.found.missing = self.found.missing or (
            f"{self.path}: no column {what}; its columns are {', '.join(self.types)}. "
            f"Name it with --{option} COLUMN{hint}."
        )
        return False

    def _item(self) -> None:
        if not self.take("item_id", "item", lambda look: not look.is_temporal):
            self.found.doubts.append(
                "item_id: no column names an item; what is about items stays empty (--item)."
            )

    def _type(self) -> None:
        chosen = self.given.get("type", [None])[0]
        if chosen:
            part = "type_flag" if self.looks[chosen].is_flag else "event_type"
            self.assign(part, chosen, "given")
        elif not self.take(
            "event_type", "type", lambda look: look.distinct <= MOST_TYPES and not look.is_flag
        ):
            self.take("type_flag", "type", lambda look: look.is_flag)
        if flag := self.columns.get("type_flag"):
            self.found.words = {
                flag.lower(): (names.role_of_flag(flag), False),
                "view": ("view", False),
            }
            self.found.why["type_flag"] = f"{self.found.why['type_flag']}, holds 0 and 1"
        elif column := self.columns.get("event_type"):
            self.find_words(column)

    def find_words(self, column: str, known: Mapping[str, str] | None = None) -> None:
        """The words of the whole source with the role each would get. known: words of a shape."""
        roles = {word: role for role, text in DEFAULT_TYPES.items() for word in text.split()}
        roles |= known or {}
        word = f"lower(cast({identifier(column)} as varchar))"
        rows = self.con.execute(
            f"select {word} as word, count(*) as n from {self.relation} where {word} <> '' "
            f"group by word order by n desc, word limit {MOST_WORDS}"
        ).fetchall()
        self.found.words = {
            text: (roles.get(text, "action"), text not in roles) for text, _ in rows
        }
        unknown = [text for text, (_, is_guess) in self.found.words.items() if is_guess]
        if unknown:
            listed = ", ".join(unknown[:5]) + (" ..." if len(unknown) > 5 else "")
            self.found.doubts.append(
                f"types: {listed} taken as role action; set it right under [types]."
            )

    def _amounts(self) -> None:
        if "value" in self.given or "price" not in self.given:
            self.take("value", "value", lambda look: look.is_amount)
        if "price" in self.given or "value" not in self.columns:
            self.take("price", "price", lambda look: look.is_amount)
        self.take("quantity", "quantity", lambda look: look.is_amount)

    def _check_amounts(self) -> None:
        """Refuse an option that names a column without numbers."""
        for option in ("value", "price", "quantity"):
            for column in self.given.get(option, []):
                look = self.looks[column]
                if look.amount < HALF or look.is_temporal:
                    raise ConfigError(
                        f"--{option}: {column} holds {look.type} such as {look.example!r}, which is "
                        f"no number; its columns are {', '.join(self.types)}. Name another."
                    )

    def _decimal(self) -> None:
        """The decimal sign of amounts that are text: one for the whole source."""
        mapped = [self.columns[part] for part in AMOUNTS if part in self.columns]
        looks = [self.looks[name] for name in mapped if self.looks[name].type == "VARCHAR"]
        if any(look.by_comma > look.by_point for look in looks):
            self.found.raw["decimal"] = ","
            self.found.why["decimal"] = "by the amounts"
        elif unsure := next((look for look in looks if look.is_ambiguous), None):
            self.found.doubts.append(
                f"decimal: {unsure.example!r} was read with a decimal point; if its comma or point "
                f'means the other thing, set decimal = ",".'
            )

    def _user_agent(self) -> None:
        """The column that tells programs from people: by its name, or by what it holds."""
        looks = {name: look for name, look in self.looks.items() if look.type == "VARCHAR"}
        free = [name for name in looks if name not in self.used]
        named = [name for name in free if names.is_user_agent(name) and looks[name].agents >= HALF]
        alike = [name for name in free if looks[name].agents >= MOSTLY]
        if named or alike:
            why = "by its name" if named else "by its values"
            self.assign("user_agent", (named or alike)[0], why)

    def _default_type(self) -> None:
        if "type_flag" in self.columns:
            return
        is_sale = {
            "value",
            "price",
            "quantity",
        } & self.columns.keys() and "event_type" not in self.columns
        self.found.raw["default_type"] = self.choices.default_type or (
            "purchase" if is_sale else "view"
        )
        why = (
            "given"
            if self.choices.default_type
            else "there are amounts"
            if is_sale
            else "there are no amounts"
        )
        if "event_type" in self.columns and not self.choices.default_type:
            why = "where the word is missing"
        elif not self.choices.default_type:
            word = self.found.raw["default_type"]
            self.found.doubts.append(
                f"event_type: no column tells; every row is a {word} (--type, --default-type)."
            )
        self.found.why["default_type"] = why

    def _as_facts(self, has_user: bool) -> None:
        """No events: what is known about items or users."""
        kind = "users" if has_user else "items"
        if not has_user and "item_id" not in self.columns:
            raise ConfigError(self.found.missing)
        self.found.doubts = []
        self.found.raw |= {"kind": kind, "attributes": self.found.unused[:MOST_FACTS]}
        self.found.unused = self.found.unused[MOST_FACTS:]
        refused_lines.forget(self.con)
        rows = self.con.execute(f"select count(*) from {self.relation}").fetchall()[0][0]
        self.found.facts = f"{rows:,} rows of facts about {kind}"
