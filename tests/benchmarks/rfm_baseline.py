"""What nine RFM features and a plain logistic regression reach on the same cutoffs.

    python tests/benchmarks/rfm_baseline.py WAREHOUSE

For every binary task: test roc_auc, average_precision and log_loss of the baseline with intervals,
beside the published model and persistence as the warehouse has them.
"""

import sys

from behavsql import frames
from behavsql.metrics import evaluate, intervals
from behavsql.models.parts.encoding import Encoder
from behavsql.warehouse import connect

RFM = [
    "days_since_last_activity", "days_since_first_event", "count_active_days_30d",
    "count_active_days_lifetime", "count_events_30d", "count_events_lifetime", "value_30d",
    "value_lifetime", "value_per_order_lifetime",
]  # fmt: skip
SHOWN = ("roc_auc", "average_precision", "log_loss")


def main(path: str) -> None:
    from sklearn.linear_model import LogisticRegression

    con = connect(path)
    asked_tasks = con.execute(
        "select task from meta.tasks where status = 'ready' and kind = 'binary' order by task"
    ).fetchall()
    for (task,) in asked_tasks:
        asked = frames.load(con, task, "binary", 10_000_000, 7)
        train, test = (asked.table.rows(asked.split(name)) for name in ("train", "test"))
        encoder = Encoder(log=True).fit(train.features.select(RFM))
        model = LogisticRegression().fit(encoder.transform(train.features), train.label)
        score = model.predict_proba(encoder.transform(test.features))[:, 1]
        found = evaluate("binary", test.label, score)
        spread = intervals("binary", test.label, score, test.users, None, seed=7)
        rows = {"rfm logistic": {name: (found[name], *spread[name]) for name in SHOWN}}
        for model_name, metric, *values in con.execute(
            "select model || case when is_published then ' *' else '' end, metric, value, low, high "
            "from report.leaderboard where task = ? and metric in (?, ?, ?)", [task, *SHOWN]
        ).fetchall():  # fmt: skip
            rows.setdefault(model_name, {})[metric] = values
        print(
            f"\n{task}: {len(train):,} train rows, {len(test):,} test rows, rate {test.label.mean():.3f}"
        )
        for name, values in rows.items():
            told = "  ".join("{} {:.3f} [{:.3f}, {:.3f}]".format(m, *values[m]) for m in SHOWN)
            print(f"  {name:<18} {told}")
    con.close()


if __name__ == "__main__":
    main(sys.argv[1])
