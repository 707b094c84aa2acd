"""``assay conformance``: the properties put to several implementations, and one table of what they said."""
