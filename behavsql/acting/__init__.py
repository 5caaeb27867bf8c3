"""The next best action: from logged decisions to a policy that is judged before anyone acts on it.

decisions.py     what was decided about whom, in which state, and what it brought
propensities.py  how likely each decision was: as logged, else estimated
choosing.py      who is acted upon: gains, calibrated on held-out decisions, budget and cap
learning.py      policies fitted on train, chosen on valid, judged on test
weighing.py      what the chosen policy expects of acting upon each user now
tables.py        where all that is stored
"""
