"""From a fitted model to SQL that says the same, and to functions in the database.

    form          hands out the features; the row form and the batch form of an expression
    encoder event_symbols event_steps weighted_sum trees lightgbm_text network gru bayes bayes_network
    bg_nbd calibration
                  one file per kind of model or part; a model's `to_sql(form)` calls them
    scorer        a model and its calibration as one score, in both forms
    profile       what the features looked like in train: defaults of whatif_, ranges in comments
    macros        the functions and their comments
    edge_rows certificate
                  what a function is asked, and how far it is off
    registry      models.parity: which functions there are
    step          `compile <task>`, the build's step

What cannot be said exactly raises CompileError: the model then stays in Python.
"""

from behavsql.compile.errors import CompileError as CompileError
from behavsql.compile.form import BatchForm as BatchForm
from behavsql.compile.form import Form as Form
from behavsql.compile.form import RowForm as RowForm
