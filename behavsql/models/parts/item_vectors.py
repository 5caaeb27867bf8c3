"""Items as vectors: of their texts, and as a source supplies them."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
import polars as pl

from behavsql.sequences import Items

TEXT = "item_text"  # the modality of titles and descriptions; the others are named by the source
MOST_WORDS = 20_000
MOST_DIMENSIONS = 32  # of a modality
FEWEST_ITEMS = 2  # that a word must stand in


@dataclass
class ItemVectors:
    """One table of vectors: row 0 is an item of which nothing is known, the others are `items`.

    Each modality has its columns, scaled to a mean length of 1 over the items it describes, and 0
    for those it does not. What is fitted (words and their weights, directions) is fitted on the items
    that train has met; the vectors of all other items follow from it.
    """

    items: list[str] = field(default_factory=list)
    columns: dict[str, tuple[int, int]] = field(default_factory=dict)  # modality -> from, to
    matrix: np.ndarray = field(default_factory=lambda: np.zeros((1, 0), np.float32))  # (k + 1, d)

    @classmethod
    def fit(cls, items: Items | None, met: set[str], seed: int, without: tuple[str, ...]) -> Self:
        """Of all items that are described. met: those that train has events of.

        Text: TF-IDF, then the directions of a truncated SVD (Deerwester et al., 1990, latent
        semantic analysis). Supplied vectors of more than MOST_DIMENSIONS: their SVD. Empty where
        nothing is described, or nothing that train has met.
        """
        if items is None:
            return cls()
        parts = {TEXT: _of_texts(items.texts, met, seed)} if TEXT not in without else {}
        for (name,), rows in sorted(items.vectors.group_by("name")):
            if name not in without:
                parts[name] = _of_vectors(rows, met, seed)
        parts = {name: part for name, part in parts.items() if part is not None}
        names = sorted({item for described, _ in parts.values() for item in described})
        made, place = cls(names), {item: i for i, item in enumerate(names, 1)}
        blocks, start = [np.zeros((len(names) + 1, 0), np.float32)], 0
        for name, (described, vectors) in parts.items():
            block = np.zeros((len(names) + 1, vectors.shape[1]), np.float32)
            block[[place[item] for item in described]] = vectors
            made.columns[name] = (start, start := start + vectors.shape[1])
            blocks.append(block)
        made.matrix = np.concatenate(blocks, axis=1)
        return made

    def codes(self, items: pl.Series) -> np.ndarray:
        """(E,) int32 rows of the matrix; 0 for an item that is not described, or missing."""
        known = items.cast(pl.String).cast(pl.Enum(self.items), strict=False)
        return known.to_physical().cast(pl.Int32).fill_null(-1).to_numpy() + 1


def _of_texts(texts: pl.DataFrame, met: set[str], seed: int) -> tuple[list[str], np.ndarray] | None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    names, words = texts["item"].to_list(), texts["text"].to_list()
    known = [text for name, text in zip(names, words, strict=True) if name in met]
    tfidf = TfidfVectorizer(sublinear_tf=True, min_df=FEWEST_ITEMS, max_features=MOST_WORDS)
    try:
        fitted = tfidf.fit_transform(known) if len(known) >= FEWEST_ITEMS else None
    except ValueError:  # no word is left
        fitted = None
    return None if fitted is None else _reduced(names, fitted, tfidf.transform(words), seed)


def _of_vectors(
    rows: pl.DataFrame, met: set[str], seed: int
) -> tuple[list[str], np.ndarray] | None:
    """Vectors of another length than most are left out."""
    length = rows["vector"].list.len().mode().max()
    rows = rows.filter(pl.col("vector").list.len() == length)
    names = rows["item"].to_list()
    matrix = np.array(rows["vector"].to_list())
    is_met = np.array([name in met for name in names])
    return _reduced(names, matrix[is_met], matrix, seed) if is_met.sum() >= FEWEST_ITEMS else None


def _reduced(
    names: list[str], fitted: object, matrix: object, seed: int
) -> tuple[list[str], np.ndarray] | None:
    """The rows of `matrix` (k, m), in as many directions of `fitted` (j, m) as MOST_DIMENSIONS allows."""
    from sklearn.decomposition import TruncatedSVD

    most = min(MOST_DIMENSIONS, fitted.shape[1], fitted.shape[0])
    if most < fitted.shape[1]:
        svd = TruncatedSVD(most, random_state=seed).fit(fitted)
        fitted, matrix = svd.transform(fitted), svd.transform(matrix)
    dense = [part.toarray() if hasattr(part, "toarray") else part for part in (fitted, matrix)]
    size = float(np.linalg.norm(dense[0], axis=1).mean())
    return (names, (dense[1] / size).astype(np.float32)) if size > 0 else None
