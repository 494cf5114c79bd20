"""Trips: photos away from home, grouped by time and place. Computed on request from where photos were taken; nothing is stored."""
