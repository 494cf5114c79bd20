"""The web page and the JSON API over the same database and model as the commands.

`app` checks requests and joins the parts: `api` answers programs, `pages` answer people.
"""
