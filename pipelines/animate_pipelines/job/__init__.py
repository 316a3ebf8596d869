"""One render: its files, its plan, the state it resumes from, and the summary of its result."""
