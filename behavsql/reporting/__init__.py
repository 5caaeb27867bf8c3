"""The page that `behavsql report` writes: what it asks, says, draws and looks like.

reader    the questions to the warehouse; what an older one lacks has no rows
numbers   figures and dates as people read them
svg       marks on a plane with two axes; charts: the charts made of them; graph: the lineage
blocks    what a section is made of: prose, facts, tables, figures
page      all sections, in order, through the templates, with the policy that nothing is fetched
others    one module per part of the page
"""
