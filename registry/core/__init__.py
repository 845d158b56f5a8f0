"""The pure core: standard library only, no clock, no network, no files, no database.

Everything that decides lives here and is called with values; everything that reads or writes
the world lives outside and calls in.
"""
