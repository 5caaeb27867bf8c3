"""What attention makes of a user's items: each looks at those before it."""

from behavsql.recommenders.item_sequences import ItemSequences

BLOCKS, HEADS = 2, 2


class ItemTransformer(ItemSequences):
    """Two causal blocks of attention over the items. Source: Kang and McAuley 2018 (SASRec)."""

    name, source, dropout = "item_transformer", "what follows", 0.3

    def _body(self, units: int) -> object:
        from behavsql.recommenders.next_network import transformer_body
        from behavsql.recommenders.sequence_learning import LONGEST

        return transformer_body(units, self.dropout, BLOCKS, HEADS, LONGEST)
