"""What a recurrent network makes of a user's items, one after the other."""

from behavsql.recommenders.item_sequences import ItemSequences


class ItemGRU(ItemSequences):
    """Gated recurrent units over the items. Source: Hidasi et al. 2016 (GRU4Rec)."""

    name, source, dropout = "item_gru", "what follows", 0.3

    def _body(self, units: int) -> object:
        from behavsql.recommenders.next_network import gru_body

        return gru_body(units, self.dropout)
