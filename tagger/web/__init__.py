"""The web page and the JSON API over the same database and model as the commands.

`app` joins the parts: `request_guard` checks requests, `api` answers programs, `pages` answer people.
"""
