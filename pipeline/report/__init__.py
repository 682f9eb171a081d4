"""What a person looks at: a self-contained HTML page, and the curves that it and `dvc plots` show."""
