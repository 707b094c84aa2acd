"""How often A/B verdicts are wrong on this machine: rounds of one setting against itself and against a slowed one,
recorded from real servers and replayed as many comparisons.
"""
