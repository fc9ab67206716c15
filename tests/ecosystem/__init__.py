"""The project beside other people's parts: what consumes, describes, traces and packages it."""
