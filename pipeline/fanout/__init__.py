"""Computing, over many processes: the tasks that they are given, and their mishaps."""
