-- purpose: area under the ROC curve from the positives' ranks, ties in the middle; NULL for one class
-- version: 1
-- twice_ranks is the sum, over the positives, of twice the rank by rising score.
-- Source: Mann and Whitney 1947; Hanley and McNeil 1982.
create or replace macro rank_auc(twice_ranks, count_positives, count_all) as
    case
        when count_positives > 0 and count_positives < count_all
            then cast(twice_ranks - count_positives * (count_positives + 1) as double)
                / (2 * count_positives * (count_all - count_positives))
    end
