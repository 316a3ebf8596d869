"""One render: its files, its plan, what it can go on from, and the summary of what was made."""
