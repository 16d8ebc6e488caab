src/v/main.go
