"""What keeps people's data theirs: pseudonyms, columns left out, age, consent, being forgotten.

settings.py     the section [privacy], and what a source leaves out or keeps coarsely
key.py          the key: where it comes from, and pseudonyms and tombstones as SQL
register.py     privacy.json: the key's check value, tombstones, the audit
columns.py      what is left out or coarsened, as SQL over a source
entering.py     which rows do not enter at all, counted in raw.withheld
landing.py      the same for rows that are landed of databases
archive.py      the same for what is inserted
consents.py     what users agreed to
renewal.py      files begun anew: pseudonyms turned on, events grown too old
forgetting.py   `behavsql forget`; purge.py writes files anew
sharing.py      `behavsql publish --share`
"""
