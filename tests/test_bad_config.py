"""A behavsql.toml that cannot be meant: the key, the value, what is allowed, and what to do."""

from pathlib import Path

import pytest
from behavsql.cli.main import app
from typer.testing import CliRunner

SOURCE = """
[[source]]
name = "shop"
path = "events.csv"
{source}
[source.columns]
user_id = "user_id"
event_at = "ts"
{columns}
"""


def told(folder: Path, text: bytes | str) -> str:
    """What `behavsql build` says of a config; it is always a usage error in one line."""
    path = folder / "mine.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    (folder / "events.csv").write_text("user_id,ts\nu,2024-01-01\n", encoding="utf-8")
    result = CliRunner().invoke(app, ["build", "-q", "-c", str(path), "-s", "staging"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert ".." not in result.stderr and "?." not in result.stderr
    return result.stderr.removeprefix(f"Error: {path}: ").rstrip("\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "there is no source; allowed is at least one [[source]] with a name, a path and "
             "columns. Let `behavsql init FILE` write it."),
        ("[source]\nname = 'x'\n", "source is no list; allowed is at least one [[source]] with"),
        ("settings = 3\n", "settings is 3; allowed is a [settings] section. Mend it."),
        ("x = = 3", "not valid TOML: Invalid value (at line 1, column 5). Mend that line."),
        (b"# \xe9\n", "is not UTF-8 at byte 2; allowed is TOML in UTF-8. Save it as UTF-8."),
        ("[[source]]\npath = 'x'\n", "source.0.name is missing; every source has one. Add it."),
        ("[[source]]\nname = '1 x'\npath = 'x'\n",
         "source.0.name: it is '1 x'; allowed is a letter, then letters, digits and _."),
        ("[settings]\nmemory_limit = 'lots'\n" + SOURCE,
         "settings.memory_limit: it is 'lots'; allowed is a size such as \"4 GB\"."),
        ("[settings]\nthreads = 0\n" + SOURCE,
         "settings.threads: it is 0; input should be greater than or equal to 1."),
        ("[settings]\nbots = 'maybe'\n" + SOURCE,
         "settings.bots: it is 'maybe'; input should be 'reject' or 'keep'."),
        ("[settings]\nsession_gap = '30'\n" + SOURCE,
         'settings.session_gap: "30" is not a length of time; allowed is a whole number above zero '
         'and one of seconds, minutes, hours, days, weeks. Write for example "30 minutes".'),
        ("[settings]\nsession_gap = '30 days'\n" + SOURCE,
         "max_session (1 day, 0:00:00) is shorter than session_gap (30 days, 0:00:00); a session "
         "lasts at least one gap."),
        ("[settings]\nmin_date = 2999-01-01\n" + SOURCE,
         "min_date (2999-01-01) lies in the future; every event would be before it."),
        (SOURCE + SOURCE, 'two sources are named "shop"; give each its own name.'),
        (SOURCE + "[types]\nview = 'vew'\n", "types.view: it is 'vew'; input should be 'view', "),
        (SOURCE + "[models.gruu]\nunits = 64\n", 'models.gruu: "gruu" is no model with options; '),
        (SOURCE + "[models.gru]\nunit = 64\n",
         'models.gru.unit: "unit" is no option of gru; allowed are units, layers, dropout, '),
        (SOURCE + "[models.gru]\nunits = 'many'\n",
         "models.gru.units: it is 'many'; allowed is a number."),
        (SOURCE + "[models.gru]\nunits = 1.5\n",
         "models.gru.units: it is 1.5; allowed is a whole number."),
        (SOURCE + "[models.lightgbm]\nlambda_l2 = -1\n",
         "models.lightgbm.lambda_l2: it is -1; allowed is a number from 0 on."),
        (SOURCE + "[models.gru]\nwith_features = 1\n",
         "models.gru.with_features: it is 1; allowed are true and false."),
        (SOURCE + "[models.gru]\naugment = ['crop', 'flip']\n",
         "models.gru.augment: it is ['crop', 'flip']; allowed are none, all, crop, mask, reorder, "),
        (SOURCE + "[models.random_forest]\nmax_features = 'log2'\n",
         "models.random_forest.max_features: it is 'log2'; allowed are sqrt, 0.25, 0.5."),
        (SOURCE + "[models.gru]\ndropout = 5\n",
         "models.gru.dropout: it is 5; allowed is a number from 0 to 0.95."),
        (SOURCE + "[models.gru]\nmax_rows = inf\n",
         "models.gru.max_rows: it is inf; allowed is a finite number."),
        (SOURCE + "[models.gru]\naugment = [1]\n",
         "models.gru.augment: it is [1]; allowed are a number, a word, true or false, and a list of"),
        (SOURCE + "[models.mlp]\npca = 1.5\n",
         "models.mlp.pca: it is 1.5; allowed are 0 for none, a share below 1, a number of components."),
        (SOURCE + "[models.lightgbm]\nnum_leaves = 1\n",
         "models.lightgbm.num_leaves: it is 1; allowed is a number from 2 to 4096."),
        (SOURCE + "[models.mlp]\nloss = 'hinge'\n",
         "models.mlp.loss: it is 'hinge'; allowed are likelihood, squared_error."),
        (SOURCE + "[models.voting]\nvote = 'loud'\n",
         "models.voting.vote: it is 'loud'; allowed are soft, hard."),
        (SOURCE + "[tasks.purchas]\nenabled = true\n", "unknown task tasks.purchas; allowed are "),
    ],
)  # fmt: skip
def test_a_config_that_cannot_be_meant(tmp_path: Path, text: bytes | str, message: str) -> None:
    if isinstance(text, str):
        text = text.replace("{source}", "").replace("{columns}", "")
    assert told(tmp_path, text).startswith(message)


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("[settings]\nmodel = 'fast'\n" + SOURCE, "models"),
        (SOURCE + "[task.x]\nenabled = true\n", "tasks"),
        (SOURCE.replace("{source}", 'delimeter = ","'), "delimiter"),
        (SOURCE.replace("{columns}", 'usr_id = "x"'), "user_id"),
    ],
)
def test_an_unknown_key_gets_the_nearest_name(tmp_path: Path, text: str, nearest: str) -> None:
    message = told(tmp_path, text.replace("{source}", "").replace("{columns}", ""))
    assert message.startswith("unknown key ")
    assert message.endswith(f' Did you mean "{nearest}"?')


@pytest.mark.parametrize(
    ("source", "columns", "message"),
    [
        ("", 'event_type = "a"\ntype_flag = "b"',
         'sets both event_type = "a" and type_flag = "b"; both say what happened, keep one.'),
        ("", 'value = "a"\nprice = "b"',
         'sets both value = "a" and price = "b"; value is price times quantity, keep one.'),
        ('at_format = "%d"\nat_unit = "days"', "",
         'sets both at_format = "%d" and at_unit = "days"; a format reads written times, a unit '
         "numbers: keep one."),
        ('at_timezone = "Asia/Tokyo"\nat_unit = "days"', "",
         'sets both at_timezone = "Asia/Tokyo" and at_unit = "days", whose times have no zone; '
         "keep one."),
        ('at_timezone = "Asia/Tokio"', "",
         'sets at_timezone = "Asia/Tokio", which is no time zone; allowed are names such as '
         'Europe/Berlin. Did you mean "Asia/Tokyo"?'),
        ("since = 2024-05-01\nuntil = 2024-01-01", "",
         "sets since = 2024-05-01 after until = 2024-01-01; nothing lies between: swap them."),
        ("since = 2024-05-01T12:00:00\nuntil = 2024-05-01T13:00:00+03:00", "",
         "sets since = 2024-05-01 12:00:00 after until = 2024-05-01 13:00:00+03:00; nothing lies"),
        ('since = 2024-05-01\nat_unit = "days"', "",
         'sets since = 2024-05-01, but its times are of at_unit "days"; allowed is a number of days.'),
        ('decimal = ","\ndelimiter = ","', "",
         'sets "," both as decimal and as delimiter; change one.'),
        ('format = "parquet"\nencoding = "latin-1"', "",
         'sets both format = "parquet" and encoding = "latin-1", which only CSV has; keep one.'),
        ('kind = "items"', "", 'of kind "items" maps no item_id; add it under columns.'),
        ('at_format = "%Q"', "",
         ': at_format = "%Q" is no format (%Q); allowed is one such as %d/%m/%Y %H:%M. Mend it.'),
    ],
)  # fmt: skip
def test_settings_of_a_source_that_contradict_each_other(
    tmp_path: Path, source: str, columns: str, message: str
) -> None:
    text = SOURCE.replace("{source}", source).replace("{columns}", columns)
    if 'kind = "items"' in source:
        text += SOURCE.replace("{source}", "").replace("{columns}", "").replace("shop", "other")
    found = told(tmp_path, text).removeprefix('source "shop"').removeprefix(" ")
    assert found.startswith(message)


def test_one_column_cannot_be_both_user_and_time(tmp_path: Path) -> None:
    text = SOURCE.replace("{source}", "").replace("{columns}", "").replace('"user_id"', '"ts"')
    assert told(tmp_path, text) == (
        'source "shop" takes "ts" for both user_id and event_at; name two columns.'
    )
