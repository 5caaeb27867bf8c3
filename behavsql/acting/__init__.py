"""The next best action: from logged decisions to a policy that is judged before anyone acts on it.

decisions.py     what was decided about whom, in which state, and what it brought
propensities.py  how likely each decision was: as logged, else estimated; who could be reached at all
propensity_model.py  the regression they are estimated with
balance.py       whether they can be believed
choosing.py      who is acted upon: gains, calibrated on held-out decisions, budget and cap
learning.py      policies fitted on train, chosen on valid, judged on test
steps.py         the two steps of a build: learning, and asking about each user
tables.py        where all that is stored
"""
