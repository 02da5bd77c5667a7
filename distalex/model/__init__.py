"""The networks and their layers. Nothing here knows of processes."""
