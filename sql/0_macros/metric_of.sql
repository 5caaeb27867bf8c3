-- purpose: the metric that a mean of `loss_of` stands for: its root for rmse, else itself
-- version: 1
create or replace macro metric_of(metric, mean_loss) as
    case
        when metric = 'rmse' and mean_loss is not null then sqrt(greatest(mean_loss, 0))
        else mean_loss
    end
