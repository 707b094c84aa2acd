"""Starting engines and ending them again, whatever happens to Assay meanwhile."""
