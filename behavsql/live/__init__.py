"""The views of `live`: events, features and scores with what was inserted since the build.

    live.inbox       clients insert here (see inbox.py)
    live.types       the words for what happened and their roles, as the config has them
    live.events      staging.events and the usable new rows of live.inbox, numbered as a build would
    live.features    features.latest as of the newest of these events, row by row as a build would
    live.<task>      the published model's score of live.features, for the users the task asks about

They are written from the SQL files' own syntax trees, see statement.py. A view reads the tables of
the published file and nothing else: no macro, no variable, no name of the file, so it works from any
client that reads the file, under any name.

What a view costs for one user is planning, for all users reading. Rows of users with nothing new are
the published ones up to stage 2, so for one user a few rows are read; see events.py for what an
inserted event can change of others.
"""

from behavsql.live.views import FEATURES as FEATURES
from behavsql.live.views import RESERVED as RESERVED
from behavsql.live.views import VIEWS as VIEWS
from behavsql.live.views import Views as Views
from behavsql.live.views import drop_task_view as drop_task_view
