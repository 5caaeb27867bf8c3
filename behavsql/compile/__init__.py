"""From a fitted model to SQL that says the same: one file per kind of model.

A model writes its expression with `Model.to_sql(form)`, its calibration with `Calibrator.to_sql`;
`form` (form.py) hands out the features. What cannot be said exactly raises CompileError.
"""

from behavsql.compile.errors import CompileError as CompileError
from behavsql.compile.form import BatchForm as BatchForm
from behavsql.compile.form import Form as Form
from behavsql.compile.form import RowForm as RowForm
