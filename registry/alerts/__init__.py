"""Alerts: who is told of what, where, and how it gets there."""
