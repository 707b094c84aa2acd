"""``assay probe URL``: what a running server does with tokens and pictures, seen from outside, on one report card.

Nothing is installed or changed on the server's side. What it speaks is found out first (``speaking``); each check then
says pass, fail, not exercised (with what the server lacks) or cannot tell. With a model's processor files at hand the
server is held against the prediction (``expecting``). Without them nothing heavy is imported.
"""
