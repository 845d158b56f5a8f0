"""A hostile upstream of another make: it shares no code with the simulator or with probing.

`world.py` says what such an upstream answers, `server.py` serves it over real HTTP, `trial.py` lets a registry
live with it in virtual time and counts what it believes wrongly, misses and costs, and `kinds.py` is the list
of the hostilities. `test_hostile.py` asserts on short, seeded trials; `make bench B=verdicts` runs long ones.
"""
