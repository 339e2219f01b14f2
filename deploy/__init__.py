"""What runs it: migrations, topics, lock files, manuals, runbooks, the demo's content. Package data, no code of the daemon."""
