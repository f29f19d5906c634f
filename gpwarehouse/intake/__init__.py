"""Turn frames and files into checked rows with their keys. This package writes nothing to the server."""
