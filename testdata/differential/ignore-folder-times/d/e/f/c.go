d/e/f/c.go
