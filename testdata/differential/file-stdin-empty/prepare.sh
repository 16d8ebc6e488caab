: > stdin
