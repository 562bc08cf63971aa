"""The verbs, one a file. A file is loaded when its verb is used; what it needs for the work, when it works."""
