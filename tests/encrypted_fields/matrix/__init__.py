"""The behaviour matrix: what the ORM does with an encrypted field of each type, on three databases.

An operation is written once and runs on a plain model and on its encrypted twin: `same.py` lists those that must end
alike, `refused.py` those that would be silently wrong on ciphertext.
"""
