"""One operator a file; `pipelines.operator.load_all` finds every file here by itself."""
