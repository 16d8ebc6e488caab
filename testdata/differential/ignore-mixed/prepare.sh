mkdir -p a/b/c d node_modules/x src
touch a/1.go a/b/2.go a/b/c/3.md d/keep d/drop node_modules/x/y src/a_test.go src/a.go README.md READ.md .env '#x' 'sp ace'
find . -exec touch -d @1700000000 {} +
