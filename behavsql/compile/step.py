"""`compile <task>`: the published model of a task becomes functions in the database, if they are exact."""

from dataclasses import dataclass, field

import duckdb

from behavsql import parity
from behavsql.compile import certificate, profile, registry
from behavsql.compile.certificate import Certificate
from behavsql.compile.errors import CompileError
from behavsql.compile.macros import macros
from behavsql.compile.scorer import Scorer
from behavsql.config import Settings
from behavsql.parity import TOLERANCE, Published
from behavsql.progress import counted
from behavsql.quoting import literal

KEPT_VERSIONS = 3  # of a task's functions, the newest among them


@dataclass
class Compiled:
    """What came of it: the functions that are there now, and what there is to say."""

    macros: list[str] = field(default_factory=list)
    certificates: list[Certificate] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def told(self) -> str:
        """One line about the functions that were made."""
        if not self.macros:
            return "no function"
        worst = max(one.largest_difference for one in self.certificates)
        return f"{counted(len(self.macros), 'function')}, off by at most {worst:.1g}"

    @property
    def rows(self) -> int:
        """Rows that each function was compared on."""
        return max(
            (one.count_test_rows + one.count_edge_rows for one in self.certificates), default=0
        )


def compile_task(con: duckdb.DuckDBPyConnection, one: Published, settings: Settings) -> Compiled:
    """Write, certify and store the functions of a task's published model.

    Those of earlier versions stay as long as they can still be called; a function that is not exact
    is not stored, and `models.parity` says why.
    """
    model, calibrator = parity.load(con, one)
    found = Compiled()
    forget(con, one.task, keep_versions=True)
    try:
        scorer = Scorer.of(model, calibrator, profile.types(con), one.task)
    except CompileError as error:
        found.warnings.append(f"{one.model} is not in SQL: {error}")
        registry.write(con, _row(one, None, str(error)))
        return found
    features = profile.read(con, one.task)
    written = macros(one, scorer, features)
    for macro in written:
        con.execute(macro.create)
    found.certificates = certificate.certify(
        con, one, model, calibrator, scorer, written, features, settings
    )
    for proof in found.certificates:
        registry.write(con, _row(one, proof, proof.reason))
        if proof.is_exact:
            found.macros.append(proof.macro.name)
        else:
            con.execute(proof.macro.drop)
            found.warnings.append(f"{proof.macro.name} is not published: it {proof.reason}")
    is_old = f"task = {literal(one.task)} and {registry.IS_VERSION}"
    registry.drop(con, f"{is_old} and version <= {one.version - KEPT_VERSIONS}")
    return found


def _row(one: Published, proof: Certificate | None, reason: str | None) -> dict[str, object]:
    """What `models.parity` says of a function; without a proof, of a model that has no SQL."""
    return {
        "macro": proof.macro.name if proof else f"predict_{one.task}",
        "task": one.task,
        "model_id": one.model_id,
        "model": one.model,
        "version": one.version,
        "form": proof.macro.form if proof else None,
        "is_published": proof is not None and proof.is_exact,
        "reason": reason,
        "count_test_rows": proof.count_test_rows if proof else 0,
        "count_edge_rows": proof.count_edge_rows if proof else 0,
        "largest_difference": proof.largest_difference if proof else None,
        "tolerance": TOLERANCE,
        "count_bytes": len(proof.macro.body) if proof else None,
    }


def forget(con: duckdb.DuckDBPyConnection, task: str, keep_versions: bool = False) -> None:
    """Take away a task's functions with their certificates; the versions stay if they may."""
    kept = f" and not (is_published and {registry.IS_VERSION})" if keep_versions else ""
    registry.drop(con, f"task = {literal(task)}{kept}")
