"""Starting and stopping a cluster of Ray: its file, what must be right in it, and the launchers."""
