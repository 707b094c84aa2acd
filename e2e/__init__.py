"""Jobs on launched servers, as tests and as job files. They take a trained sentinel and a few seconds each."""
