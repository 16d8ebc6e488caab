d/e/c.go
