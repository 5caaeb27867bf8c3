"""What a source of facts must say of itself: a survey, attributes, a catalogue, what holds of users."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from behavsql.source import Source

KINDS = ("items", "users", "survey", "attributes")
# Names of columns that tables of facts have themselves.
TAKEN = ("user_id", "item_id", "cutoff_at", "known_at", "_none")
PRICE = "price"
# A column that only some kinds have -> these kinds.
_OWN = {
    "question": ("survey",),
    "answer": ("survey",),
    "valid_from": ("attributes", "items"),
    "valid_to": ("attributes", "items"),
}


def table_of(source: "Source") -> str | None:
    """The raw table a source of facts is read into: "users" or "items"; None for events.

    Attributes are of items where the source maps item_id.
    """
    if source.kind == "attributes":
        return "items" if source.columns.item_id else "users"
    return {"items": "items", "users": "users", "survey": "users"}.get(source.kind)


def told_by(source: "Source") -> list[str]:
    """The facts a source's settings name; those of a survey in rows may be in its rows alone."""
    is_priced = table_of(source) == "items" and source.columns.price
    return [*source.features, *([PRICE] if is_priced else [])]


def contradictions(source: "Source", name: str) -> Iterator[str]:
    """Each contradiction in one sentence without its full stop."""
    columns, kind = source.columns, source.kind
    for key, kinds in _OWN.items():
        if getattr(columns, key) and kind not in kinds:
            yield (
                f'{name} of kind "{kind}" maps {key}, which a source of kind '
                f"{' or '.join(map(_quoted, kinds))} has; remove it, or set kind"
            )
    if source.features and kind not in KINDS:
        yield (
            f'{name} of kind "{kind}" sets features = {source.features}; what is known of users or '
            f"items stands in a source of kind {' or '.join(map(_quoted, KINDS))}"
        )
    if columns.valid_to and not columns.valid_from:
        yield f"{name} maps valid_to and no valid_from; a fact that ends has begun: add it"
    if kind == "survey":
        yield from _of_survey(source, name)
    if kind == "attributes":
        yield from _of_attributes(source, name)
    if taken := [one for one in source.features if one.lower() in TAKEN]:
        yield (
            f'{name} has the feature "{taken[0]}"; {", ".join(TAKEN)} are columns of ours. Rename '
            f"it in the source"
        )


def _of_survey(source: "Source", name: str) -> Iterator[str]:
    columns = source.columns
    if (columns.question is None) != (columns.answer is None):
        has, lacks = ("question", "answer") if columns.question else ("answer", "question")
        yield f"{name} maps {has} and no {lacks}; a survey in rows has both"
    if not columns.question and not source.features:
        yield (
            f'{name} of kind "survey" says not what was asked; map question and answer, or name '
            f"the columns that are questions as features"
        )


def _of_attributes(source: "Source", name: str) -> Iterator[str]:
    columns = source.columns
    if bool(columns.user_parts) == bool(columns.item_id):
        maps = "both user_id and item_id" if columns.item_id else "no user_id and no item_id"
        yield f'{name} of kind "attributes" maps {maps}; it tells of users or of items'
    if not source.features and not columns.price:
        yield f'{name} of kind "attributes" has no features; name the columns that are facts'


def shared_names(sources: Sequence["Source"]) -> Iterator[str]:
    """Facts of users, or of items, that two sources tell."""
    seen: dict[tuple[str | None, str], str] = {}
    for source in sources:
        for name in told_by(source):
            key = (table_of(source), name.lower())
            if other := seen.get(key):
                where = f'the sources "{other}" and "{source.name}"' if other != source.name else (
                    f'source "{other}"'
                )  # fmt: skip
                yield (
                    f'{where} tell the feature "{name}" {"both" if other != source.name else "twice"}; '
                    f"each fact has one source: rename it in one of them, or leave it out"
                )
            seen[key] = source.name


def _quoted(kind: str) -> str:
    return f'"{kind}"'
