"""The web page and the JSON API over the same database and model as the commands. Sits above every other room.

`app` joins the parts; `safety` is what every request passes; `pages` are for people, `api` for programs.
"""
