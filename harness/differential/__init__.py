"""One engine against another, in this process: general workloads, and checks that compare what came back.

Nothing here knows of any particular fault. ``judge`` runs every check of a suite on a subject, with an oracle that
answered the same cases alone, each with empty caches.
"""
